"""Wiring only: one file a pipeline.

ZenML's command line imports every installed integration (torch, sklearn, pandas, ...) before it compiles a run, which
costs seconds and brings materializers that we do not use: ours are registered by `steps`. There is no switch for it, so
it is turned off here, where every pipeline passes. For the same reason the mask of new files is set here: what a run
stores is its owner's alone, also where `zenml pipeline run` started it.
"""

import os

from zenml.integrations.registry import integration_registry

integration_registry.activate_integrations = lambda: None
os.umask(0o077)
