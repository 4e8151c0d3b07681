"""Fine-tuning: QLoRA, LoRA or full training of a base on prompts and completions.

    adapter, report = train(records, tokenizer, base, TrainSettings(), tasks, folder, work)

The controls are the same function with other settings: `labels: shuffled`, or `method: full` with
`initialisation: random`.
"""

from domainlm.train.finetuning import train
from domainlm.train.report import TrainingReport

__all__ = ["TrainingReport", "train"]
