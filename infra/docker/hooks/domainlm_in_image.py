"""Keep ZenML from importing every integration that happens to be installed, in whatever process of the image.

Each of ZenML's entry points in a pod calls `integration_registry.activate_integrations()`, which imports torch,
sklearn, pandas, MLflow and more for materializers that domainlm does not use (its own are registered by `steps`). ZenML
0.98 has no switch for it, and in a pod nothing of ours runs before it, so the method is replaced as soon as its module
has been imported. Stack components (kubernetes, s3, mlflow) are imported by their flavour's path when the stack is
built, which needs no activation. Loaded by a .pth file at each start of Python; it costs one entry in `sys.meta_path`.
`DOMAINLM_ALL_INTEGRATIONS=1` leaves ZenML as it is, for a stack that wants what activation registers.
"""

import importlib.util
import os
import sys

REGISTRY = "zenml.integrations.registry"


class _AfterImport:
    """A finder that finds nothing itself: it lets the others find the registry and wraps how that is executed."""

    def find_spec(self, name, path=None, target=None):
        if name != REGISTRY:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            module.IntegrationRegistry.activate_integrations = lambda self: None

        spec.loader.exec_module = exec_module
        return spec


if not os.environ.get("DOMAINLM_ALL_INTEGRATIONS"):
    sys.meta_path.insert(0, _AfterImport())
