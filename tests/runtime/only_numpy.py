"""Run in the device-only environment: the base install brings numpy and nothing of the workstation."""

import sys
from importlib.metadata import distributions

import edgekit_runtime
from edgekit_runtime.backends import backend, backend_names
from edgekit_runtime.errors import MissingRequirement

TEST_TOOLS = {"pip", "setuptools", "wheel", "pytest", "hypothesis", "iniconfig", "packaging", "pluggy", "pygments"}
TEST_TOOLS |= {"sortedcontainers", "attrs", "exceptiongroup", "tomli", "typing-extensions", "typing_extensions"}

found = {d.metadata["Name"].lower() for d in distributions()} - TEST_TOOLS
if found != {"numpy", "edgekit-runtime"}:
    sys.exit(f"the small install brings more than numpy: {sorted(found)}")
for name in backend_names():
    if backend(name).native:  # compiled code needs no interpreter
        continue
    try:
        backend(name).open(b"")
    except MissingRequirement as error:
        # an accelerator's interpreter comes with its board, the others' from an extra
        if not error.hint or ("edgekit-runtime[" not in error.hint and not backend(name).accelerator):
            sys.exit(f"back end {name} does not say how to get its interpreter: {error}")
    else:
        sys.exit(f"back end {name} opened without its interpreter")
print(f"edgekit-runtime {edgekit_runtime.__version__} on Python {sys.version.split()[0]}: numpy alone")
