from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from drawing import sentence
from hypothesis import given, settings
from hypothesis import strategies as st

from ganvas.data import Spec, keys, parse
from ganvas.data.opening import find
from ganvas.data.ranges import Range
from ganvas.data.source import Source
from ganvas.data.spec import GROUPED, KEYS, KINDS, PLANNED
from ganvas.errors import GanvasError, UsageError

SIDES = st.integers(1, 4096)
WORDS = st.from_regex(r"[A-Za-z0-9_-]+", fullmatch=True)
SOURCES = st.text(min_size=1).filter(lambda text: "\0" not in text)
COLONS = st.lists(st.sampled_from([*KINDS, *PLANNED, "my-maps", "a", "%3A", "%", "?", "/", "."]), min_size=1).map(
    ":".join
)
PLAIN = SOURCES | COLONS  # also what begins like a kind

NUMBERS = st.floats(-1e6, 1e6) | st.integers(-(10**16), 10**16).map(float)
RANGES = st.tuples(NUMBERS, NUMBERS).filter(lambda two: two[0] < two[1]).map(lambda two: Range(*two))

common = {
    "split": st.none() | WORDS,
    "holdout": st.none() | st.floats(0, 1, exclude_min=True, exclude_max=True),
    "limit": st.none() | st.integers(1, 10**12 - 1),
}
pictures = {
    "size": st.none() | st.tuples(SIDES, SIDES),
    "crop": st.sampled_from([None, "centre", "none"]) | st.tuples(SIDES, SIDES),
    "resize": st.sampled_from([None, "bicubic", "bilinear"]),
    "flip": st.booleans(),
    "channels": st.sampled_from([None, "rgb", "grey"]),
    "range": st.none() | RANGES,
    "max_pixels": st.none() | st.integers(1, 10**12 - 1),
    "max_bad": st.floats(0, 1),
    "strict": st.booleans(),
    "stream": st.booleans(),
}
SCALED = (  # sizes that windows fit, where both are said
    st.fixed_dictionaries({})
    | st.fixed_dictionaries({"size": st.tuples(st.integers(64, 4096), st.integers(64, 4096))})
    | st.fixed_dictionaries({"load_size": st.tuples(st.integers(64, 4096), st.integers(64, 4096))})
    | st.fixed_dictionaries({"scale_width": SIDES})
)
grouped = {
    **{key: pictures[key] for key in ("flip", "channels", "range", "max_pixels", "max_bad", "strict")},
    "crop": st.none() | st.tuples(st.integers(1, 64), st.integers(1, 64)),
}
OF_KINDS = {
    "paired": {"side_by_side": st.sampled_from([None, "AB", "BA"])},
    "unpaired": {},
    "labels": {"classes": st.none() | st.integers(1, 255), "void": st.sampled_from([None, "255", "none"])},
}
SPECS = (
    st.builds(Spec, PLAIN, st.none(), **common, **pictures)
    | st.builds(Spec, SOURCES | COLONS, st.just("images"), **common, **pictures)
    | st.builds(Spec, SOURCES, st.just("hub"), **common, **pictures, config=st.none() | WORDS)
    | st.builds(Spec, SOURCES, st.just("mixture"), **common)
    | st.sampled_from(GROUPED).flatmap(
        lambda kind: st.builds(
            lambda spec, scaled: replace(spec, **scaled),
            st.builds(Spec, SOURCES, st.just(kind), **common, **grouped, **OF_KINDS[kind]),
            SCALED,
        )
    )
)
ALIKE = st.lists(
    st.sampled_from([*KEYS, *KINDS, *PLANNED, *"?&=%:x.-e019", "%3f", "%25", "true", "digits", "64", "é"]), max_size=12
).map("".join)


@given(SPECS)
@settings(max_examples=300, deadline=None)
def test_a_spec_reads_back_as_itself(spec: Spec) -> None:
    assert parse(str(spec)) == spec
    assert str(parse(str(spec))) == str(spec)


@pytest.mark.parametrize("name", ["my-maps:1.png", "images:1.png", "mixture:ring8", "a%3Ab", "hub:", "x:y:z"])
def test_a_path_that_begins_like_a_kind_is_still_a_path(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert parse(str(Spec(name))) == Spec(name)
    monkeypatch.chdir(tmp_path)
    Path(name).touch()
    assert parse(f"./{name.replace('%', '%25')}").source == f"./{name}"
    if name.partition(":")[0] not in KINDS:  # a kind that there is not: the file is
        assert parse(name.replace("%", "%25")) == Spec(name)


@given(st.text() | ALIKE)
@settings(max_examples=400, deadline=None)
def test_any_text_is_a_spec_or_one_sentence_on_what_is_wrong_with_it(text: str) -> None:
    try:
        spec = parse(text)
    except UsageError as error:
        sentence(error)
    else:
        assert parse(str(spec)) == spec


@given(st.text().filter(lambda text: "/" not in text) | ALIKE)
@settings(max_examples=150, deadline=None)
def test_any_text_names_a_source_or_nothing(empty: Path, text: str) -> None:
    if text.startswith("hub:") or text.partition("?")[0].removeprefix("images:") in (".", "..", "~"):
        return  # another machine would be asked, and there are such folders
    try:
        assert isinstance(find(parse(text)), Source)
    except GanvasError as error:
        sentence(error)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("empty"))
        yield Path()


@pytest.mark.parametrize(
    ("text", "spec", "canonical"),
    [
        ("digits", Spec("digits"), "digits"),
        ("images:my photos", Spec("my photos", "images"), "images:my photos"),
        ("a?max-bad=1%&strict=false&flip=false", Spec("a"), "a"),  # the defaults
        ("a?resize=bicubic&crop=centre", Spec("a", crop="centre", resize="bicubic"), "a?crop=centre&resize=bicubic"),
        ("a?flip=true&size=64x64", Spec("a", size=(64, 64), flip=True), "a?size=64&flip=true"),
        ("a?size=640x360&crop=none", Spec("a", size=(640, 360), crop="none"), "a?size=640x360&crop=none"),
        ("a?crop=178x218&channels=grey", Spec("a", crop=(178, 218), channels="grey"), "a?crop=178x218&channels=grey"),
        ("a?holdout=10%&limit=007", Spec("a", holdout=0.1, limit=7), "a?holdout=0.1&limit=7"),
        ("a?max-bad=.5&strict=true", Spec("a", max_bad=0.5, strict=True), "a?max-bad=0.5&strict=true"),
        ("what%3F%2520100%25", Spec("what?%20100%"), "what%3F%2520100%25"),
        ("C:\\pictures", Spec("C:\\pictures"), "C:\\pictures"),
        ("images:a:b", Spec("a:b", "images"), "images:a:b"),
        ("mixture:ring8?split=test", Spec("ring8", "mixture", split="test"), "mixture:ring8?split=test"),
        ("paired:a,b?side-by-side=BA", Spec("a,b", "paired", side_by_side="BA"), "paired:a,b?side-by-side=BA"),
        (
            "labels:s?classes=034&scale_width=512&crop=256x256",
            Spec("s", "labels", crop=(256, 256), scale_width=512, classes=34),
            "labels:s?crop=256&scale_width=512&classes=34",
        ),
        ("a?range=0..4095", Spec("a", range=Range(0, 4095)), "a?range=0..4095"),
        ("a?range=0..1.0", Spec("a", range=Range(0, 1)), "a?range=unit"),
        ("a?range=-1..1", Spec("a", range=Range(-1, 1)), "a?range=signed"),
        ("a?range=-1000.5..4e2", Spec("a", range=Range(-1000.5, 400)), "a?range=-1000.5..400"),
        ("a?range=auto", Spec("a"), "a"),
        ("a?max-pixels=400M", Spec("a", max_pixels=400_000_000), "a?max-pixels=400000000"),
        ("labels:a?void=none", Spec("a", "labels", void="none"), "labels:a?void=none"),
        ("a?load_size=286x286&crop=256", Spec("a", crop=(256, 256), load_size=(286, 286)), "a?crop=256&load_size=286"),
    ],
)
def test_reads_what_is_written_and_writes_it_in_one_way(text: str, spec: Spec, canonical: str) -> None:
    assert parse(text) == spec
    assert str(spec) == canonical


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("imagse:x", "did you mean 'images'"),
        ("mixtur:ring8", "did you mean 'mixture'"),
        ("http://x/y.zip", "images:PATH for a path with a colon"),
        ("espeak:x", "does not read 'espeak' data yet"),
        ("digits?sise=64", "did you mean 'size'"),
        ("digits?Flip=true", "did you mean 'flip'"),
        ("digits?max_bad=1", "did you mean 'max-bad'"),
        ("digits?load-size=1", "did you mean 'load_size'"),
        ("digits?side_by_side=AB", "did you mean 'side-by-side'"),
        ("images:x?scale_width=3", "scale_width says nothing"),
        ("paired:x?void=none", "void says nothing: only labels data"),
        ("mixture:ring8?range=unit", "range says nothing"),
        ("hub:x?classes=3", "classes says nothing"),
        ("unpaired:x?side-by-side=AB", "only paired data has pairs"),
        ("labels:x?stream=true", "read into the store; leave it away"),
        ("paired:x?crop=none", "takes a window in pixels, as crop=256"),
        ("paired:x?size=3&scale_width=4", "contradict each other"),
        ("digits?&", "has no key ''"),
        ("digits?size=1&size=2", "size is given twice"),
        ("digits?flip", "flip is without a value"),
        ("mixture:ring8?size=3", "size says nothing"),
        ("mixture:ring8?stream=true", "stream says nothing"),
        ("photos?config=small", "config says nothing"),
        ("", "names no source"),
        ("images:?size=3", "names no source"),
        ("digits?size=64?flip=true", "size=64?flip=true does not read"),
    ],
)
def test_a_misspelt_spec_is_answered_with_what_was_meant(text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert says in sentence(caught.value)


WRONG = {
    "split": ["", "a b", "train/x", "é"],
    "holdout": ["0", "1", "0%", "100%", "-0.1", "half", "1.5", "nan", ""],
    "size": ["0", "64x", "x64", "64x0", "-1", "4097", "64×64", "٣", "1e2", ""],
    "crop": ["center", "0", "1x", "all"],
    "resize": ["nearest", "Bilinear", ""],
    "flip": ["yes", "1", "True", ""],
    "channels": ["gray", "rgba", "3"],
    "range": [
        "",
        "0",
        "0-4095",
        "4095..0",
        "1..1",
        "0..nan",
        "0..inf",
        "0..1e999",
        "unitt",
        "0...1",
        "٣..4",
        "1_0..20",
    ],
    "max-pixels": ["0", "-1", "1e9", "many", "400MP", "1" * 13],
    "limit": ["0", "-1", "1.5", "1e3", "many", "1" * 13],
    "max-bad": ["-1", "2", "101%", "none", "inf"],
    "strict": ["no", "0"],
    "stream": ["yes", ""],
    "config": ["", "a/b", "a b"],
    "load_size": ["0", "256x", "4097", ""],
    "scale_width": ["0", "1024x512", "4097", "wide", ""],
    "classes": ["0", "256", "-1", "many", ""],
    "void": ["0", "true", "256", ""],
    "side-by-side": ["A", "ab", "AA", ""],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in WRONG.items() for value in values])
def test_a_value_that_its_key_does_not_take_is_answered_with_those_it_takes(key: str, value: str) -> None:
    with pytest.raises(UsageError, match=f"{key}={re.escape(value)} does not read: it takes ") as caught:
        parse(f"somewhere?{key}={value}")
    sentence(caught.value)


def test_every_key_is_explained_and_every_key_is_tried_with_wrong_values() -> None:
    assert set(keys()) == set(WRONG)
    assert all(len(text) > 20 for text in keys().values())


@pytest.mark.parametrize(
    "text", ["{}", "{}:x", "digits?size={}", "digits?{}=1", "a{}?size=1&size=1", "?{}", "paired:{}?crop=none"]
)
def test_what_a_sentence_repeats_of_a_spec_is_short(text: str) -> None:
    with pytest.raises(GanvasError) as caught:
        find(parse(text.format("x" * 5000)))
    assert len(sentence(caught.value)) < 700


def test_a_value_with_line_breaks_is_one_sentence() -> None:
    with pytest.raises(UsageError) as refused:
        parse("photos?crop=no\nne\x16")
    assert "\n" not in str(refused.value)
