"""The thinking of domainlm, one folder a stage; nothing in here imports ZenML.

So the same code runs in a pipeline step, a test, a notebook, a Ray worker or a container.
"""

__version__ = "0.1.0"
