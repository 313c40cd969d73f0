"""oracle: compares implementations of backpropagation with a reference, with a tolerance derived for every element.

The implementation is called the subject: it turns a `Case` into a `Trace`. `run` compares it with a reference on the cases of
the suite, and returns a `Report`:

>>> report = oracle.run(subject="refbp", reference="torch", cases="worked-example")
>>> report.passed, report.blame
(True, [])
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from oracle.wording import extra

if TYPE_CHECKING:
    from oracle.case.case import Case as Case
    from oracle.case.case import CaseError as CaseError
    from oracle.case.case import Spec as Spec
    from oracle.harness.explain import explain as explain
    from oracle.harness.run import run as run
    from oracle.harness.shrink import shrink as shrink
    from oracle.judging.profile import Profile as Profile
    from oracle.modules import check_module as check_module
    from oracle.ops.check_network import NetworkError as NetworkError
    from oracle.ops.check_network import check_network as check_network
    from oracle.ops.check_op import check_op as check_op
    from oracle.ops.expect import assert_close as assert_close
    from oracle.ops.expect import expect as expect
    from oracle.report.report import Discrepancy as Discrepancy
    from oracle.report.report import Report as Report
    from oracle.report.report import load_report as load_report
    from oracle.subjects.functions import from_jax as from_jax
    from oracle.subjects.refusing import refuse as refuse
    from oracle.subjects.torch_functions import from_torch as from_torch
    from oracle.trace import Key as Key
    from oracle.trace import Trace as Trace
    from oracle.trace import Unsupported as Unsupported
    from refbp import __version__ as __version__

# Imported when first asked for: `import oracle` and `oracle --help` stay quick.
_HOMES = {
    "Case": "oracle.case.case",
    "CaseError": "oracle.case.case",
    "Spec": "oracle.case.case",
    "check_module": "oracle.modules",
    "NetworkError": "oracle.ops.check_network",
    "check_network": "oracle.ops.check_network",
    "check_op": "oracle.ops.check_op",
    "assert_close": "oracle.ops.expect",
    "expect": "oracle.ops.expect",
    "explain": "oracle.harness.explain",
    "from_jax": "oracle.subjects.functions",
    "refuse": "oracle.subjects.refusing",
    "from_torch": "oracle.subjects.torch_functions",
    "Profile": "oracle.judging.profile",
    "Discrepancy": "oracle.report.report",
    "Report": "oracle.report.report",
    "load_report": "oracle.report.report",
    "run": "oracle.harness.run",
    "shrink": "oracle.harness.shrink",
    "Key": "oracle.trace",
    "Trace": "oracle.trace",
    "Unsupported": "oracle.trace",
}
__all__ = list(_HOMES)


if not TYPE_CHECKING:  # type checkers see the names above, and no others

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            return importlib.import_module("refbp").__version__
        if name not in _HOMES:
            raise AttributeError(f"module 'oracle' has no attribute {name!r}")
        extra.require(f"oracle.{name}")
        found = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)  # asked for once
        return found


def __dir__() -> list[str]:
    """All public names, also those that are not imported yet, for `help` and completion; none while the extra is missing."""
    return sorted({*globals(), "__version__", *([] if extra.missing() else __all__)})
