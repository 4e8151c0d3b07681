"""A pipeline that ends well where it was decided that nothing should be done (`steps.declined`)."""

from __future__ import annotations

import logging

from zenml.client import Client
from zenml.models import PipelineRunResponse
from zenml.pipelines.pipeline_definition import Pipeline

from pipelines import hooks
from steps.declined import Declined

_logger = logging.getLogger(__name__)
_LOUD = "zenml.orchestrators.local.local_orchestrator"  # tells of each exception that ends a step, with a traceback


class EndingWell(Pipeline):
    """Its call hands back a run that was declined as it does one that completed, so that the exit code is 0."""

    def _run(self) -> PipelineRunResponse | None:
        logger = logging.getLogger(_LOUD)
        logger.addFilter(_is_no_decline)
        try:
            return super()._run()
        except Declined as declined:
            for line in declined.lines:  # the only words that `zenml pipeline run` has of it
                _logger.info(line)
            return Client().get_pipeline_run(hooks.started[-1])
        finally:
            logger.removeFilter(_is_no_decline)


def _is_no_decline(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], Declined))
