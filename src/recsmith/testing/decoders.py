"""Conformance of decoders over semantic IDs: inherit `DecoderConformance`, say how to decode, and pytest runs the promises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from recsmith.config import Config
from recsmith.data import Histories, ItemCodes
from recsmith.decoding import CodeTrie, beam_search, score_all, top_k
from recsmith.protocols import CodeModel, HistoryBatch, Limits, RankedLists

_STATES = 499


class HashedCodeModel:
    """A `CodeModel` without training: logits are random numbers looked up by a hash of the history and of the codes so far."""

    Config: ClassVar[type[Config]] = Config
    answers: ClassVar[Literal["codes"]] = "codes"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    def __init__(self, *, codes: ItemCodes, seed: int = 0, distinct: int | None = None) -> None:
        """`distinct` limits the number of different logits, so that many items tie."""
        self.config = Config()
        random = torch.Generator().manual_seed(seed)
        self._logits = [torch.randn(_STATES, size, generator=random) for size in codes.sizes]
        if distinct is not None:
            self._logits = [(table * distinct / 4).round() for table in self._logits]

    def prefill(self, batch: HistoryBatch) -> Tensor:
        """A number per row, from its items and their order; `[batch, 1]`."""
        rows = []
        for first, end in zip(batch.offsets[:-1].tolist(), batch.offsets[1:].tolist(), strict=True):
            state = 7
            for item in batch.items[first:end].tolist():
                state = (state * 31 + item + 1) % _STATES
            rows.append([state])
        return torch.tensor(rows, dtype=torch.int64, device=batch.items.device).view(-1, 1)

    def step(self, state: Tensor, level: int, parents: Tensor | None, last: Tensor | None) -> tuple[Tensor, Tensor]:
        """The next code changes the number."""
        if parents is not None and last is not None:
            state = (state.gather(1, parents) * 37 + last + 11) % _STATES
        return self._logits[level].to(state.device)[state], state


@dataclass(frozen=True)
class DecodingCase:
    """A catalogue, a model, histories and limits."""

    codes: ItemCodes
    model: CodeModel
    histories: Histories
    limits: Limits

    @property
    def batch(self) -> HistoryBatch:
        """The histories as tensors."""
        return HistoryBatch(torch.from_numpy(self.histories.values), torch.from_numpy(self.histories.offsets))

    def allowed(self) -> np.ndarray:
        """Whether an item may be answered for a row, bool `[row, item]`."""
        allowed = np.ones((len(self.histories), len(self.codes)), dtype=bool)
        if self.limits.allowed is not None:
            allowed &= self.limits.allowed
        if self.limits.exclude is not None:
            allowed[self.limits.exclude.rows, self.limits.exclude.values] = False
        return allowed

    def row(self, row: int) -> DecodingCase:
        """The same question for one row alone."""
        exclude = None if self.limits.exclude is None else self.limits.exclude.slice(row, row + 1)
        limits = Limits(exclude=exclude, allowed=self.limits.allowed)
        return DecodingCase(self.codes, self.model, self.histories.slice(row, row + 1), limits)


def decoding_case(
    seed: int, *, items: int = 40, rows: int = 5, sizes: tuple[int, ...] = (4, 5, 3, 2), distinct: int | None = None
) -> DecodingCase:
    """A random case; row 0 may have everything excluded, row 1 nothing, the others random shares. At most prod(sizes) items."""
    random = np.random.default_rng(seed)
    numbers = random.permutation(int(np.prod(sizes)))[:items]
    codes = ItemCodes(np.stack(np.unravel_index(numbers, sizes), axis=1).astype(np.int64), sizes)
    shares = np.concatenate([[random.integers(0, 2), 0.0], random.random(max(rows - 2, 0))])[:rows]
    exclude = Histories.from_rows([np.flatnonzero(random.random(len(codes)) < share).tolist() for share in shares])
    histories = Histories.from_rows([random.integers(0, len(codes), size=random.integers(0, 6)).tolist() for _ in range(rows)])
    allowed = random.random(len(codes)) < random.choice([0.3, 0.8, 1.0])
    model = HashedCodeModel(codes=codes, seed=seed, distinct=distinct)
    return DecodingCase(codes, model, histories, Limits(exclude=exclude, allowed=allowed))


class DecoderConformance:
    """Promises of a constrained decoder. Override `decode` to test yours; the default tests `beam_search`.

    `exhaustive = False` leaves out the comparison with the scores of all items, for decoders that do not promise it.
    """

    exhaustive: ClassVar[bool] = True

    def decode(self, case: DecodingCase, k: int, *, beams: int) -> RankedLists:
        """Lists of length k for `case`."""
        return beam_search(case.model, case.batch, CodeTrie.build(case.codes), k, beams=beams, limits=case.limits)

    def test_answers_are_allowed_unique_and_sorted(self) -> None:
        """Every item is in the catalogue, within the limits, there once; scores descend."""
        for seed in range(8):
            case = decoding_case(seed)
            check_lists(case, self.decode(case, 7, beams=9))

    def test_lists_are_short_only_when_few_items_are_allowed(self) -> None:
        """However few the beams, k items come back where k are allowed."""
        for seed in range(8):
            case = decoding_case(seed)
            answered = (self.decode(case, 12, beams=1).items >= 0).sum(axis=1)
            assert answered.tolist() == np.minimum(case.allowed().sum(axis=1), 12).tolist()

    def test_enough_beams_find_the_exact_order(self) -> None:
        """With as many beams as items, the list is that of the exact scores, ties included."""
        if not self.exhaustive:
            return
        for seed in range(8):
            case = decoding_case(seed, distinct=None if seed % 2 else 1)
            scores = score_all(case.model, case.batch, CodeTrie.build(case.codes))
            expected = top_k(scores, len(case.codes), limits=case.limits)
            answer = self.decode(case, len(case.codes), beams=len(case.codes))
            assert answer.items.tolist() == expected.items.tolist()
            np.testing.assert_allclose(answer.scores, expected.scores, atol=1e-5)

    def test_a_row_alone_gets_the_same_list(self) -> None:
        """No row depends on the others of its batch."""
        case = decoding_case(3, rows=4)
        together = self.decode(case, 6, beams=8)
        for row in range(4):
            alone = self.decode(case.row(row), 6, beams=8)
            assert alone.items[0].tolist() == together.items[row].tolist()
            np.testing.assert_allclose(alone.scores[0], together.scores[row], atol=1e-5)

    def test_nothing_allowed_gives_an_empty_list(self) -> None:
        """Item -1 with score -inf, k times."""
        case = decoding_case(1)
        limits = Limits(allowed=np.zeros(len(case.codes), dtype=bool))
        answer = self.decode(DecodingCase(case.codes, case.model, case.histories, limits), 3, beams=4)
        assert (answer.items == -1).all()
        assert (answer.scores == -np.inf).all()

    def test_a_catalogue_of_one_item(self) -> None:
        """The item comes first, the rest is padding; unless it is excluded."""
        codes = ItemCodes(np.array([[2, 0]]), (3, 1))
        limits = Limits(exclude=Histories.from_rows([[], [0]]))
        case = DecodingCase(codes, HashedCodeModel(codes=codes), Histories.from_rows([[0], []]), limits)
        assert self.decode(case, 2, beams=5).items.tolist() == [[0, -1], [-1, -1]]


def check_lists(case: DecodingCase, answer: RankedLists) -> None:
    """Raise `AssertionError` unless the lists keep to the case's limits, hold no item twice and are sorted."""
    allowed = case.allowed()
    for row, (items, scores) in enumerate(zip(answer.items, answer.scores, strict=True)):
        real = items[items >= 0]
        assert len(set(real.tolist())) == len(real), f"row {row} repeats an item: {items}"
        assert (real < len(case.codes)).all(), f"row {row} leaves the catalogue: {items}"
        assert allowed[row, real].all(), f"row {row} holds a forbidden item: {items}"
        assert (items[len(real) :] == -1).all(), f"row {row} has a gap: {items}"
        assert (scores[len(real) :] == -np.inf).all(), f"row {row} scores its padding: {scores}"
        assert np.isfinite(scores[: len(real)]).all(), f"row {row} has a score that is not finite: {scores}"
        assert (scores[1 : len(real)] <= scores[: max(len(real) - 1, 0)]).all(), f"row {row} is not sorted: {scores}"
