# The public face: every name in it, and where it lives. Nothing is imported before it is used.
from . import errors as errors
from .calibrate import calibrate_run as calibrate_run
from .comparison import compare as compare
from .data import open_data as open_data
from .evaluation import evaluate as evaluate
from .exploration import interpolate as interpolate
from .exploration import traverse as traverse
from .fetching import fetch as fetch
from .games import systems as systems
from .report import write_report as write_report
from .run import Run as Run
from .run import load as load
from .run import runs as runs
from .training import train as train

__version__: str
