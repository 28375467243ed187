# What the package offers, and where it lives. Nothing is imported before it is used: specs are read without torch.
from .batches import Batches as Batches
from .batches import Order as Order
from .contact import contact_sheet as contact_sheet
from .dataset import Dataset as Dataset
from .inputs import open_input as open_input
from .opening import open_data as open_data
from .spec import GROUPED as GROUPED
from .spec import Spec as Spec
from .spec import keys as keys
from .spec import kinds as kinds
from .spec import parse as parse
from .spec import slug as slug
