"""What the pre-training of the embedded base can be told."""

from __future__ import annotations

from pydantic import Field, model_validator

from domainlm.reports import Settings


class PretrainSettings(Settings):
    """The shape of the base model and the recipe of its pre-training."""

    name: str = Field("falcon-tiny", min_length=1, description="name of the base on cards and in registries")
    vocab_size: int = Field(
        4096, ge=300, le=65024, description="byte-level BPE tokens; more means shorter texts, rarer tokens"
    )
    hidden_size: int = Field(128, ge=32, multiple_of=32, description="width; time and memory grow with its square")
    layers: int = Field(3, ge=1, description="depth; time grows with it")
    heads: int = Field(2, ge=1, description="attention heads; must divide hidden_size; wide heads learn to copy sooner")
    context: int = Field(512, ge=32, description="longest sequence that the model may be asked, in tokens")
    sequence_length: int = Field(
        128, ge=16, description="tokens of one training sequence; documents are packed into it"
    )
    epochs: float = Field(
        1.75, gt=0, description="passes over the corpus; more learns more until the held-out loss turns"
    )
    max_steps: int | None = Field(None, ge=1, description="a bound on the steps over text whatever the epochs say")
    copy_steps: int = Field(
        350, ge=0, description="warm-up steps on repeated random tokens, which teach copying from the context; 0: none"
    )
    copy_share: float = Field(
        0.125, ge=0, lt=1, description="share of later sequences that are still such tokens, so that copying stays"
    )
    copy_learning_rate: float = Field(4e-3, gt=0, description="learning rate of the copy warm-up")
    batch_size: int = Field(8, ge=1, description="sequences of one step")
    learning_rate: float = Field(3e-3, gt=0, description="peak of the cosine schedule")
    minimum_rate: float = Field(0.1, ge=0, le=1, description="share of the peak that the cosine ends at")
    warmup_ratio: float = Field(0.05, ge=0, le=1, description="share of the steps with rising learning rate")
    weight_decay: float = Field(0.1, ge=0, description="AdamW's decay of matrices (not of norms)")
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are clipped to this norm")
    seed: int = Field(0, ge=0, description="seed of weights and of the order of sequences")
    threads: int = Field(2, ge=1, description="CPU threads; fixed, since a digest of weights depends on it")
    save_steps: int = Field(200, ge=1, description="optimizer steps between two checkpoints")
    dev_characters: int = Field(
        60_000, ge=1000, description="held-out characters that bits per character is measured on"
    )

    @model_validator(mode="after")
    def _shape(self) -> PretrainSettings:
        if self.hidden_size % self.heads or self.hidden_size // self.heads % 2:
            raise ValueError("hidden_size must be an even multiple of heads (rotary embedding halves a head)")
        if self.sequence_length > self.context:
            raise ValueError("sequence_length must not exceed context")
        return self
