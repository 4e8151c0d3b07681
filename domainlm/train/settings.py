"""What a fine-tuning can be told; the defaults fit the embedded base, configs/falcon-7b-paper.yaml has the paper's."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, field_validator, model_validator

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


INSTRUCTION, CONTINUED, CLASSIFICATION = "instruction", "continued_pretraining", "classification"
Objective = Literal["instruction", "continued_pretraining", "classification"]
Method = Literal["qlora", "lora", "dora", "full", "prefix", "prompt", "llama_adapter"]
LORA_METHODS = frozenset({"qlora", "lora", "dora"})
PROMPT_METHODS = frozenset({"prefix", "prompt"})  # virtual tokens before the text
Batching = Literal["random", "grouped", "packed"]
Strategy = Literal["auto", "ddp", "fsdp2", "deepspeed", "ray"]


class TrainingStage(Settings):
    """One stage of a curriculum; what it leaves out is as in the training around it."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="names its checkpoints and its part of the report")
    objective: Objective | None = Field(None, description="documents first, tasks later")
    tasks: tuple[str, ...] | None = Field(None, description="tasks of this stage")
    task_weights: dict[str, float] | None = Field(None, description="the mixture of this stage")
    epochs: float | None = Field(None, gt=0, description="passes over this stage's mixture")
    max_steps: int | None = Field(None, ge=1, description="exact number of optimizer steps of this stage")
    learning_rate: float | None = Field(None, gt=0, description="peak of this stage's own schedule")


class TrainSettings(Settings):
    """The recipe of a fine-tuning."""

    method: Method = Field(
        "qlora",
        description="qlora: 4-bit base + LoRA; lora, dora: full-precision base; full: all weights; prefix, prompt,"
        " llama_adapter: trained virtual tokens",
    )
    bits: Literal[4, 8, 16] | None = Field(
        None, description="frozen weights: 4 (NF4), 8 (LLM.int8) or 16 (as loaded); none: what the method means"
    )
    objective: Objective = Field(
        "instruction",
        description="instruction: prompts and completions; continued_pretraining: documents; classification: a head"
        " over an encoder (BERT family)",
    )
    stages: tuple[TrainingStage, ...] = Field(
        (), description="a curriculum: one adapter through all stages in order, measured after each; empty: one stage"
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
    batching: Batching = Field(
        "random",
        description="grouped: batches of like lengths, less padding; packed: no padding at all, the batch's rows end to"
        " end in one line and attention kept inside each; what an optimizer step holds is the same",
    )
    loss_chunk_tokens: int | None = Field(
        1024, ge=16, description="logits are made for so many supervised tokens at a time; none: all at once"
    )
    compile: bool = Field(False, description="torch.compile of the layers: other steps after a minute of compiling")
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
    virtual_tokens: int = Field(20, ge=1, description="methods prefix, prompt, llama_adapter: their length")
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
    neftune_alpha: float = Field(
        0.0, ge=0, description="noise on input embeddings (Jain et al. 2023, NEFTune); 5 is usual, 0 is none"
    )
    augment_copies: int = Field(
        0, ge=0, le=8, description="changed copies of each training prompt; answers and numbers stay as they are"
    )
    augment_rate: float = Field(0.1, gt=0, le=0.5, description="share of a prompt's words that a copy changes")
    eval_steps: int | None = Field(
        None, ge=1, description="optimizer steps between two looks at the development split; none: before and after"
    )
    early_stopping: int | None = Field(
        None, ge=1, description="looks without improvement before a stage stops; its best weights are kept"
    )
    fit_memory: Literal["auto", "check", "off"] = Field(
        "auto",
        description="auto: smaller micro-batches (same effective batch), then recomputation, then fewer bits where bits"
        " is none and the method not qlora or full; check: refuse what does not fit; off: try it",
    )
    memory_gb: float | None = Field(
        None, gt=0, description="memory to fit into, in 2^30 bytes; none: what the device has free"
    )
    processes: int = Field(1, ge=1, description="processes on this node, one a GPU; batch_size is each one's")
    nodes: int = Field(1, ge=1, description="nodes; node 0 runs the pipeline, the others join it (docs/many-gpus.md)")
    strategy: Strategy = Field(
        "auto",
        description="several processes: ddp copies the model, fsdp2 shards it, deepspeed and ray use their launchers;"
        " auto: ddp where it fits",
    )
    deepspeed_config: str | None = Field(None, description="strategy deepspeed: its JSON file")
    ray_address: str | None = Field(None, description="strategy ray: the cluster's address; none: this machine")
    loader_workers: int = Field(0, ge=0, description="processes that prepare batches; pinned and ahead of the GPU")
    spike_factor: float | None = Field(
        20.0, gt=1, description="stop where the loss is so many times its recent median; none: never"
    )
    sample_prompts: int = Field(
        0, ge=0, le=8, description="development prompts that are answered at each checkpoint, for the curve's page"
    )
    prices: dict[str, NonNegativeFloat] = Field(
        default_factory=dict,
        description="price of an hour of one device by its name (a part of it suffices, e.g. H100), for the cost",
    )
    currency: str = Field("EUR", min_length=1, max_length=16, description="what prices are in; for the card")
    seed: int = Field(0, ge=0, description="seed of LoRA's weights, of dropout, of the order and of shuffled labels")
    threads: int = Field(2, ge=1, description="CPU threads; fixed, since a digest of weights depends on it")
    logging_steps: int = Field(10, ge=1, description="optimizer steps between two points of the curve")
    save_steps: int = Field(100, ge=1, description="optimizer steps between two checkpoints")
    dev_records: int = Field(
        200, ge=0, description="held-out records that the loss is measured on, before and after; 0: none"
    )
    report_to: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = Field(
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
        faults = [text for wrong, text in self._contradictions() if wrong]
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _contradictions(self) -> list[tuple[bool, str]]:
        names = [stage.name for stage in self.stages]
        objectives = {stage.objective or self.objective for stage in self.stages} | {self.objective}
        return [
            (
                self.initialisation == "random" and self.method != "full",
                "initialisation 'random' needs method 'full': LoRA on random weights trains a random base",
            ),
            (
                self.method == "qlora" and self.bits not in (None, 4),
                "method 'qlora' means 4 bits: use 'lora' with bits",
            ),
            (
                self.method == "full" and self.bits in (4, 8),
                "method 'full' trains all weights: quantized ones cannot be",
            ),
            (len(set(names)) != len(names), "two stages have one name"),
            (
                CLASSIFICATION in objectives and len(objectives) > 1,
                "objective 'classification' has a head of its own: it cannot share stages with the others",
            ),
            (
                CLASSIFICATION in objectives and self.method not in LORA_METHODS | {"full"},
                f"a classification head goes with qlora, lora, dora and full, not with method '{self.method}'",
            ),
            (
                CLASSIFICATION in objectives and self.batching == "packed",
                "a head reads one text a row: batching 'packed' does not go with objective 'classification'",
            ),
            (
                CLASSIFICATION in objectives and self.sample_prompts > 0,
                "an encoder writes no text: sample_prompts does not go with objective 'classification'",
            ),
            (
                CLASSIFICATION in objectives and self.strategy == "fsdp2",
                "an encoder with a head fits into each process: use strategy 'ddp'",
            ),
            (
                self.early_stopping is not None and self.eval_steps is None,
                "early_stopping needs eval_steps: how often the development split is looked at",
            ),
            (
                self.early_stopping is not None and self.dev_records == 0,
                "early_stopping needs dev_records above 0",
            ),
            (
                self.batching == "packed" and self.method in PROMPT_METHODS,
                "virtual tokens stand before each row: batching 'packed' does not go with method prefix or prompt",
            ),
            (
                self.adapt_embedding and self.method not in LORA_METHODS | {"full"},
                f"adapt_embedding is a LoRA: it does not go with method '{self.method}'",
            ),
            (
                self.strategy in ("ddp", "fsdp2") and self.processes * self.nodes == 1,
                f"strategy '{self.strategy}' needs several processes: set `processes` or `nodes`",
            ),
            (self.strategy == "deepspeed" and not self.deepspeed_config, "strategy 'deepspeed' needs deepspeed_config"),
        ]

    @property
    def quantization(self) -> Literal["nf4", "int8", "none"]:
        """How the frozen weights are stored."""
        bits = self.bits or (4 if self.method == "qlora" else 16)
        return {4: "nf4", 8: "int8", 16: "none"}[bits]

    def by_stage(self) -> list[tuple[str, TrainSettings]]:
        """The recipe of each stage, in order; one, without a name, where there is no curriculum."""
        if not self.stages:
            return [("", self)]
        recipes = []
        for stage in self.stages:
            changes = stage.model_dump(exclude={"name"}, exclude_none=True)
            if "epochs" in changes:
                changes.setdefault("max_steps", None)  # else the training's own number of steps would win
            recipes.append((stage.name, TrainSettings(**(self.model_dump() | {"stages": ()} | changes))))
        return recipes


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
            changes |= {"method": "full", "initialisation": "random", "bits": None}
        else:
            raise ValueError(f"no control is called '{kind}': known are shuffled_labels and from_scratch")
        return TrainSettings(**(recipe.model_dump() | changes))
