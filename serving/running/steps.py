"""Runs the stages of a batch: within the rest of the budget, timed, and with a fallback by policy."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar, TypeVarTuple

from contracts.errors import RecommenderError, StageError
from contracts.messages import FilterResult
from serving.running.calls import DirectCall, Stage
from serving.running.config import PipelineConfig
from serving.watching.rate_limited import RateLimitedLogger

_AnswerT = TypeVar("_AnswerT")
_MessagesT = TypeVarTuple("_MessagesT")


class Steps:
    """One run of the pipeline over B requests.

    Attributes:
        stage_ms: wall milliseconds by stage.
        removed: numbers of removed candidates by reason.
        replaced_stages: stages that were replaced or left out.

    Args:
        size: B.
        budget_ms: milliseconds until the answer must be ready; infinity = no limit.
        config: policies.
        warn: logs replaced stages.
    """

    def __init__(self, size: int, budget_ms: float, config: PipelineConfig, warn: RateLimitedLogger) -> None:
        self.stage_ms: dict[str, float] = {}
        self.removed: dict[str, int] = {}
        self.replaced_stages: set[str] = set()
        self._degraded: list[list[str]] = [[] for _ in range(size)]
        self._deadline = time.perf_counter() + budget_ms / 1000
        self._config = config
        self._warn = warn

    @property
    def degraded(self) -> tuple[tuple[str, ...], ...]:
        """Per request, the stages and stores that were replaced or left out."""
        return tuple(tuple(names) for names in self._degraded)

    async def run(
        self,
        name: str,
        stage: Stage[*_MessagesT, _AnswerT] | None,
        *messages: *_MessagesT,
        fallback: Callable[[*_MessagesT], _AnswerT],
        affects: Sequence[bool] | None = None,
        needs: str | None = None,
        last: bool = False,
    ) -> _AnswerT:
        """Runs one stage and returns its answer.

        Args:
            name: of the stage; `OnError` has its policy.
            stage: the stage; None = there is nothing to do, `fallback` answers.
            messages: for the stage.
            fallback: the fallback, which takes the same messages.
            affects: requests [B] that the fallback degrades; None = all.
            needs: another stage; if that one was replaced, this one is skipped.
            last: whether it may use the reserved part of the budget.

        Raises:
            StageError: the stage failed or was late, and its policy is `fail`.
        """
        if stage is None:
            return fallback(*messages)
        if needs in self.replaced_stages:
            self.replaced(name, affects)
            return fallback(*messages)
        started = time.perf_counter()
        left_s = self._deadline - started - (0.0 if last else self._config.reserve_ms / 1000)
        try:
            if left_s <= 0:
                raise TimeoutError("nothing is left of the budget")
            return await stage(*messages, timeout_s=left_s)
        except Exception as error:
            if getattr(self._config.on_error, name) == "fail":
                raise StageError(f"stage {name} failed or was late; its policy is 'fail'", stage=name) from error
            self.replaced(name, affects)
            expected = isinstance(error, TimeoutError | RecommenderError)
            self._warn.warning(name, error, traceback=not expected)
            return fallback(*messages)
        finally:
            self.stage_ms[name] = self.stage_ms.get(name, 0.0) + (time.perf_counter() - started) * 1000

    def once_more(
        self, name: str, stage: Stage[*_MessagesT, _AnswerT], fallback: Callable[[*_MessagesT], _AnswerT]
    ) -> Stage[*_MessagesT, _AnswerT]:
        """The stage for a second call, or its fallback if the first call used that."""
        return DirectCall(fallback) if name in self.replaced_stages else stage

    def replaced(self, name: str, affects: Sequence[bool] | None = None) -> None:
        """Notes a replaced stage and the requests that it degrades."""
        self.replaced_stages.add(name)
        self.left_out(name, affects)

    def left_out(self, name: str, affects: Sequence[bool] | None = None) -> None:
        """Adds a name to `degraded`, once, for the affected requests [B]; None = all."""
        for request, names in enumerate(self._degraded):
            if (affects is None or affects[request]) and name not in names:
                names.append(name)

    def note_degraded(self, degraded: Sequence[Sequence[str]]) -> None:
        """Adds the names that a stage reports itself, per request."""
        for names, more in zip(self._degraded, degraded, strict=True):
            names.extend(more)

    def count_removed(self, filtered: FilterResult) -> None:
        """Counts the candidates that a filter removed."""
        self.removed[filtered.reason] = self.removed.get(filtered.reason, 0) + int((~filtered.keep).sum())
