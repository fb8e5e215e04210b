"""MicroVMs as a library.

>>> import libmicrovm
>>> with libmicrovm.Runtime() as rt, rt.run("counter") as vm:
...     print(vm.exec(["uname", "-a"], text=True, check=True).stdout)

Start with :class:`Runtime`. Every call that may block takes ``timeout=`` (seconds or a
``timedelta``) and ``cancel=`` (a :class:`CancelToken`), gives up the GIL, and can be interrupted by
Ctrl-C; it then leaves nothing behind. ``close()`` of an object ends its calls that other threads are
in, with ``Cancelled``. Errors are :class:`MicrovmError`, one subclass per code.
``libmicrovm.aio`` has the same for asyncio.
"""

import atexit

__version__ = "0.1.0"

try:
    from . import _native
except ImportError as error:
    if "undefined symbol" not in str(error):
        raise
    raise ImportError(
        "libmicrovm: the libmicrovm.so that was found is of another version than this package"
        f" ({__version__}): install both from one build ({error})"
    ) from None
if _native.__version__ != __version__:
    raise ImportError(
        f"libmicrovm: this package is version {__version__}, its _native {_native.__version__}:"
        " install both from one build"
    )

from . import errors as errors, values as values
from ._native import CancelToken as CancelToken
from .errors import *
from .exec import *
from .probe import *
from .progress import *
from .pty import *
from .runtime import *
from .start import *
from .streams import *
from .values import *
from .vm import *

atexit.register(_native._close_all)
