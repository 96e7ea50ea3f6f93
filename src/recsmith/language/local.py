"""`LocalBackend`: a causal language model from a local transformers folder, batched, with constrained choices and likelihoods."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from recsmith.config import Config
from recsmith.errors import BackendError, UserError, import_extra
from recsmith.language.completion import Completion, Prompt
from recsmith.language.json_form import form_of
from recsmith.language.json_guide import Guide, token_texts
from recsmith.runtime import Device, Precision, Runtime

if TYPE_CHECKING:
    from torch import Tensor

_WEIGHTS = "*.safetensors"


class LocalConfig(Config):
    """Which folder, and how it is run."""

    folder: str
    """Folder with `config.json`, a tokenizer and weights in safetensors, as `save_pretrained` writes it."""
    device: Device = "auto"
    """Where it runs: auto, cpu or cuda."""
    precision: Literal["auto", "fp32", "bf16", "int8"] = "auto"
    """Number type: auto (bf16 where the processor gains by it), fp32, bf16, or int8 (weights in 8 bits, arithmetic as auto)."""
    batch_size: int = Field(8, ge=1)
    """Prompts answered at a time."""


class LocalBackend:
    """A model on this machine. Loading never executes code of the folder: safetensors alone, no remote code.

    Prompts that wait at the same time are answered in one batch (left-padded, with a key-value cache); drawn answers (temperature above 0)
    are generated one at a time, each from its own seed, so that they do not depend on their neighbours. `choices`, or else a `schema`
    (see `form_of`), are enforced while decoding, and an answer to a schema is closed before it reaches its longest length. A tokenizer's
    chat template is used where there is one; else messages follow each other as paragraphs.
    """

    def __init__(self, config: LocalConfig) -> None:
        self.config = config
        folder = Path(config.folder)
        if not (folder / "config.json").is_file() or not list(folder.glob(_WEIGHTS)):
            raise UserError(f"`{folder}` holds no language model (config.json and {_WEIGHTS}); give a folder written by save_pretrained")
        self._library = import_extra("transformers", extra="text", purpose="a language model from a folder")
        precision: Precision = "auto" if config.precision in ("auto", "int8") else config.precision  # type: ignore[assignment]
        self._runtime = Runtime.choose(config.device, precision)
        self._waiting: list[tuple[Prompt, asyncio.Future[Completion]]] = []
        self._guides: dict[str, Guide] = {}
        self._worker: asyncio.Task[None] | None = None
        self._lock = threading.Lock()

    @cached_property
    def name(self) -> str:
        """Folder, hash of its files and number type."""
        kind = "int8" if self.config.precision == "int8" else str(self._runtime.compute_dtype).removeprefix("torch.")
        return f"{Path(self.config.folder).name} (files sha256 {_folder_hash(Path(self.config.folder))[:12]}, {kind})"

    @property
    def concurrency(self) -> int:
        """Twice the batch, so that the next one is waiting when one is done."""
        return 2 * self.config.batch_size

    def count_tokens(self, text: str) -> int:
        """Tokens of a text by the model's own tokenizer."""
        return len(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    async def complete(self, prompt: Prompt) -> Completion:
        """Answer one prompt; raises `BackendError` when it does not fit the model, `UserError` for a schema that cannot be enforced."""
        if prompt.schema is not None and not prompt.choices:
            form_of(prompt.schema)
        answer: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._waiting.append((prompt, answer))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await answer

    async def log_likelihood(self, context: str, continuations: tuple[str, ...]) -> list[float]:
        """log p of each continuation after the context, in nats, summed over its tokens; the context is read once for all."""
        return await asyncio.to_thread(self._log_likelihood, context, continuations)

    async def close(self) -> None:
        """Wait for what is being answered."""
        if self._worker is not None and self._worker.get_loop() is asyncio.get_running_loop():
            await self._worker
        self._worker = None

    # ---- inside ----

    async def _work(self) -> None:
        await asyncio.sleep(0)
        while self._waiting:
            batch = self._next_batch()
            answers: Sequence[Completion | Exception]
            try:
                answers = await asyncio.to_thread(self._answers, [prompt for prompt, _ in batch])
            except Exception as error:  # noqa: BLE001 - handed on to those who wait, who would wait forever
                answers = [error] * len(batch)
            for (_, future), answer in zip(batch, answers, strict=True):
                if future.done():
                    continue
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)

    def _next_batch(self) -> list[tuple[Prompt, asyncio.Future[Completion]]]:
        """The first that waits and those that can be answered with it; drawn answers go alone."""
        first = self._waiting[0][0].sampling
        size = 1 if first.temperature > 0 else self.config.batch_size
        batch = [entry for entry in self._waiting if entry[0].sampling == first][:size]
        taken = {id(entry) for entry in batch}
        self._waiting = [entry for entry in self._waiting if id(entry) not in taken]
        return batch

    @cached_property
    def _tokenizer(self) -> Any:
        tokenizer = self._library.AutoTokenizer.from_pretrained(self.config.folder, local_files_only=True, padding_side="left")
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        if tokenizer.pad_token is None:
            raise UserError(f"the tokenizer of `{self.config.folder}` has neither a padding nor an end token; add one and save it again")
        return tokenizer

    @cached_property
    def _model(self) -> Any:
        model = self._library.AutoModelForCausalLM.from_pretrained(
            self.config.folder, local_files_only=True, use_safetensors=True, dtype=self._runtime.compute_dtype
        ).eval()
        if self.config.precision == "int8":
            from recsmith.nn.int8 import quantise_linears

            quantise_linears(model)
        return model.to(self._runtime.device)

    def _rendered(self, prompt: Prompt) -> str:
        messages = [{"role": message.role, "content": message.content} for message in prompt.messages]
        if self._tokenizer.chat_template:
            return str(self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        return "\n\n".join(message["content"] for message in messages) + "\n"

    def _answers(self, prompts: list[Prompt]) -> list[Completion | BackendError]:
        """The answer to each prompt, and an error where one does not fit the model."""
        with self._lock:
            texts = [self._rendered(prompt) for prompt in prompts]
            found: list[Any] = [self._misfit(prompt, text) for prompt, text in zip(prompts, texts, strict=True)]
            rows = [row for row, error in enumerate(found) if error is None]
            if rows:
                for row, answer in zip(rows, self._generate([prompts[row] for row in rows], [texts[row] for row in rows]), strict=True):
                    found[row] = answer
        return found

    def _misfit(self, prompt: Prompt, text: str) -> BackendError | None:
        longest = prompt.sampling.max_tokens
        least = 0 if prompt.schema is None or prompt.choices else self._guide(prompt.schema).least
        if least > longest:
            needed = f"{least} tokens" if least < math.inf else "words that its tokenizer has not"
            return BackendError(f"{self.name} needs {needed} for an answer of the schema, `sampling.max_tokens` allows {longest}; raise it")
        return self._lack_of_room(len(self._tokenizer(text)["input_ids"]) + longest)

    def _generate(self, prompts: list[Prompt], texts: list[str]) -> list[Completion]:
        """Answers to prompts of one sampling that fit the model."""
        import torch

        with torch.inference_mode(), torch.random.fork_rng(devices=[]):
            inputs = self._tokenizer(texts, return_tensors="pt", padding=True).to(self._model.device)
            width, sampling = inputs["input_ids"].shape[1], prompts[0].sampling
            torch.manual_seed(int(prompts[0].key(self.name)[:15], 16))
            options: dict[str, Any] = {"do_sample": False}
            if sampling.temperature > 0:
                options = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
            if any(prompt.choices or prompt.schema is not None for prompt in prompts):
                options["prefix_allowed_tokens_fn"] = self._allowed(prompts, width)
            tokens = self._model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                max_new_tokens=sampling.max_tokens,
                pad_token_id=self._tokenizer.pad_token_id,
                use_cache=True,
                **options,
            )
        return [self._completion(prompt, tokens[row], inputs["attention_mask"][row], width) for row, prompt in enumerate(prompts)]

    def _completion(self, prompt: Prompt, tokens: Tensor, mask: Tensor, width: int) -> Completion:
        answer = tokens[width:].tolist()
        end = self._tokenizer.eos_token_id
        ended = end in answer
        kept = answer[: answer.index(end)] if ended else answer
        text = self._tokenizer.decode(kept, skip_special_tokens=True).strip()
        stopped = [text.index(stop) for stop in prompt.sampling.stop if stop in text]
        text = text[: min(stopped)] if stopped else text
        finish: Literal["stop", "length"] = "stop" if ended or stopped or prompt.choices else "length"
        return Completion(text, self.name, Path(self.config.folder).name, int(mask.sum()), len(kept), finish=finish)

    def _allowed(self, prompts: list[Prompt], width: int) -> Callable[[int, Tensor], list[int]]:
        """What may come next in each row."""
        rules = [self._rule(prompt) for prompt in prompts]
        return lambda row, tokens: rules[row](tokens[width:].tolist())

    def _rule(self, prompt: Prompt) -> Callable[[list[int]], list[int]]:
        """The tokens of an answer so far → what may come next: of the choices those that begin so, of a schema what it allows, or all."""
        end = self._tokenizer.eos_token_id
        if not prompt.choices and prompt.schema is not None:
            return self._guide(prompt.schema).follow(prompt.sampling.max_tokens, end)
        if not prompt.choices:
            everything = list(range(len(self._tokenizer)))
            return lambda _: everything
        paths = [[*self._plain(choice), end] for choice in prompt.choices]

        def next_of_choices(begun: list[int]) -> list[int]:
            size = len(begun)
            return sorted({path[size] for path in paths if len(path) > size and path[:size] == begun}) or [end]

        return next_of_choices

    def _guide(self, schema: Mapping[str, Any]) -> Guide:
        name = json.dumps(schema)
        if name not in self._guides:
            self._guides[name] = Guide(form_of(schema), self._token_texts)
        return self._guides[name]

    @cached_property
    def _token_texts(self) -> dict[int, str]:
        return token_texts(self._tokenizer)

    def _plain(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _lack_of_room(self, tokens: int) -> BackendError | None:
        room = getattr(self._model.config, "max_position_embeddings", None)
        if room is None or tokens <= room:
            return None
        return BackendError(f"{self.name} holds {room} tokens, prompt and answer may need {tokens}; give `max_tokens` to the compiler")

    def _log_likelihood(self, context: str, continuations: Sequence[str]) -> list[float]:
        import torch

        rows = [self._plain(text) for text in continuations]
        if any(not row for row in rows):
            raise BackendError(f"{self.name} cannot judge the empty text {continuations[[not row for row in rows].index(True)]!r}")
        with self._lock, torch.inference_mode():
            device = self._model.device
            start = self._plain(context) or [self._tokenizer.bos_token_id or self._tokenizer.eos_token_id]
            longest = max(map(len, rows))
            lack = self._lack_of_room(len(start) + longest)
            if lack is not None:
                raise lack
            read = self._model(torch.tensor([start], device=device), use_cache=True, logits_to_keep=1)
            cache = read.past_key_values
            cache.batch_repeat_interleave(len(rows))
            padded = torch.tensor([[*row, *[self._tokenizer.pad_token_id] * (longest - len(row))] for row in rows], device=device)
            logits = self._model(padded, past_key_values=cache, use_cache=True).logits
            before = torch.cat([read.logits[:, -1:].expand(len(rows), -1, -1), logits[:, :-1]], dim=1).float()
            picked = before.log_softmax(dim=2).gather(2, padded[:, :, None])[:, :, 0]
            lengths = torch.tensor([len(row) for row in rows], device=device)
            standing = torch.arange(longest, device=device)[None] < lengths[:, None]
            return (picked * standing).sum(dim=1).tolist()


def _folder_hash(folder: Path) -> str:
    content = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix in {".safetensors", ".json", ".txt", ".model", ".jinja"}:
            with path.open("rb") as file:
                content.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return content.hexdigest()
