"""What a fine-tuning can be told; the defaults fit the embedded base, configs/falcon-7b-paper.yaml has the paper's."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from domainlm.reports import Settings

OPTIMIZERS = (
    "adamw_torch",
    "adamw_torch_fused",
    "adamw_8bit",
    "paged_adamw_32bit",
    "paged_adamw_8bit",
    "adafactor",
    "sgd",
)


class TrainSettings(Settings):
    """The recipe of a fine-tuning."""

    method: Literal["qlora", "lora", "full"] = Field(
        "qlora", description="4-bit base + LoRA, full-precision base + LoRA, or all weights"
    )
    initialisation: Literal["pretrained", "random"] = Field(
        "pretrained", description="random weights: the from-scratch control (method full)"
    )
    labels: Literal["true", "shuffled"] = Field(
        "true", description="shuffled: answers permuted among groups of a task, the control"
    )
    tasks: tuple[str, ...] = Field((), description="tasks to train on; empty means all but plain documents")
    task_weights: dict[str, float] = Field(
        default_factory=dict, description="passes over a task in one epoch; 1 unless named"
    )
    epochs: float = Field(1.5, gt=0, description="passes over the mixture; more fits the training text closer")
    max_steps: int | None = Field(None, ge=1, description="exact number of optimizer steps, whatever the epochs say")
    batch_size: int = Field(16, ge=1, description="records of one forward pass; more needs more memory")
    gradient_accumulation: int = Field(
        1, ge=1, description="forward passes of one optimizer step; a larger batch in the same memory"
    )
    group_by_length: bool = Field(False, description="batches of like lengths: less padding, less mixing")
    loss_weighting: Literal["token", "record"] = Field(
        "token", description="what counts equally: each answer token, or each record whatever its answer's length"
    )
    max_length: int = Field(512, ge=16, description="longest prompt + completion in tokens")
    too_long: Literal["error", "drop"] = Field(
        "error", description="what becomes of longer records; they are never cut"
    )
    rank: int = Field(16, ge=1, description="LoRA rank; more learns more and makes a larger adapter")
    alpha: float = Field(64, gt=0, description="LoRA scale: updates are multiplied by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="LoRA dropout; against overfitting")
    target_modules: tuple[str, ...] = Field(
        ("auto",), min_length=1, description="linear layers to adapt; auto: the architecture's own"
    )
    adapt_embedding: bool = Field(
        False,
        description="LoRA on the input embedding too: for a small base, whose words know little of the domain",
    )
    train_new_tokens: bool = Field(True, description="also train the embedding rows of the vocabulary's new tokens")
    optimizer: Literal[OPTIMIZERS] = Field("adamw_torch", description="paged and 8-bit ones save GPU memory")
    learning_rate: float = Field(
        2e-3, gt=0, description="peak; a 7B base wants about 2e-4, the embedded base about ten times more"
    )
    scheduler: Literal["cosine", "linear", "constant", "constant_with_warmup"] = Field(
        "cosine", description="course of the learning rate"
    )
    warmup_ratio: float = Field(0.03, ge=0, lt=1, description="share of the steps with rising learning rate")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's decay")
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are clipped to this norm")
    compute_dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="auto: float32 on a CPU, bfloat16 on a GPU"
    )
    gradient_checkpointing: bool = Field(
        False, description="recompute activations: about a third slower, far less memory"
    )
    seed: int = Field(0, ge=0, description="seed of LoRA's weights, of dropout, of the order and of shuffled labels")
    threads: int = Field(2, ge=1, description="CPU threads; fixed, since a digest of weights depends on it")
    logging_steps: int = Field(10, ge=1, description="optimizer steps between two points of the curve")
    save_steps: int = Field(100, ge=1, description="optimizer steps between two checkpoints")
    dev_records: int = Field(
        200, ge=0, description="held-out records that the loss is measured on, before and after; 0: none"
    )
    report_to: tuple[Literal["tensorboard", "mlflow"], ...] = Field(
        ("tensorboard", "mlflow"), description="where curves go; mlflow only with a tracking URI"
    )

    @field_validator("task_weights")
    @classmethod
    def _positive(cls, weights: dict[str, float]) -> dict[str, float]:
        for name, weight in weights.items():
            if not 0 <= weight <= 100:
                raise ValueError(f"weight of task '{name}' must lie between 0 and 100")
        return weights

    @model_validator(mode="after")
    def _consistent(self) -> TrainSettings:
        if self.initialisation == "random" and self.method != "full":
            raise ValueError("initialisation 'random' needs method 'full': LoRA on random weights trains a random base")
        return self


class ControlSettings(Settings):
    """A control training: the recipe of the main one, but for what the control is about.

    `shuffled_labels` shows what a gain owes to the format alone, `from_scratch` what the pre-training was worth. Both
    spend the steps, batches and order of the main training.
    """

    learning_rate: float | None = Field(
        default=None,
        gt=0,
        description="another peak than the main training's; all weights from scratch want another than LoRA",
    )

    def change(self, recipe: TrainSettings, kind: str) -> TrainSettings:
        """The recipe of a control.

        Args:
            recipe: what the main training used.
            kind: `shuffled_labels` or `from_scratch`.

        Raises:
            ValueError: there is no such control.
        """
        changes: dict[str, object] = {"learning_rate": self.learning_rate or recipe.learning_rate}
        if kind == "shuffled_labels":
            changes |= {"labels": "shuffled"}
        elif kind == "from_scratch":
            changes |= {"method": "full", "initialisation": "random"}
        else:
            raise ValueError(f"no control is called '{kind}': known are shuffled_labels and from_scratch")
        return TrainSettings(**(recipe.model_dump() | changes))
