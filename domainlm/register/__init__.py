"""Register: a version in the MLflow model registry that carries the digests of everything it came from."""

from domainlm.register.registration import Provenance, Registration, handling_class, register

__all__ = ["Provenance", "Registration", "handling_class", "register"]
