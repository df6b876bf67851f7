from . import plot as plot
from .analyser import Analyser as Analyser
from .analysis import analyse as analyse
from .heads import fit_au as fit_au
from .network import load_encoder as load_encoder
from .opening import load_features as load_features
from .opening import open_store as open_store
from .version import __version__ as __version__
