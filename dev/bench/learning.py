"""make bench NAME=learning: seconds of training until a model draws what unseen prompts ask for, against Latte.

The threshold is two successive readings of 256 unseen prompts (the world's held-out combinations, with noise of their
own) with colour and direction both right in at least 90 %; a run counts at the second of them, and sampling is not
counted. Ours is the `tiny` preset at 16 x 16 pixels; the baseline is Latte's text-to-video model at that size
(bench/latte): alternating attention, fixed sin-cos positions, DDPM with learned variance, its initialisation, read by
DDIM. Equal for both: samples, text states (encoded before the clock), patches, batch tokens, optimiser, warm-up,
average of weights, parameters within 2 %, threads, guidance. Both choose among the same five learning rates on a
seed that is not reported; then three seeds race, slice by slice in turn. A baseline that never gets there counts at
10 times ours: the speed-up is then a lower bound. The table adds our parts to Latte one at a time, at one seed and at
the rate chosen for ours; with all of them it computes what ours does (tests/unit/bench/test_latte_parts.py).

Patches are 4 x 4 pixels: 48 numbers, which a token of 128 channels can carry. In the patches of 8 x 8 that `tiny`
has there are 192, so that no network of this width can say all the noise that Latte is to predict, while a clean
clip, which ours is to predict, can be said; published Latte has 16 numbers in 1152 channels. LEARNING_PATCH=8
LEARNING_SIDE=24 (with a folder of its own) measures with that handicap.

The whole is laid out for about 40 minutes on two quiet cores. It may be stopped at any moment and started again:
ended runs and the last slice of the others are in the folder.

Environment: LEARNING_FOLDER (out/learning), LEARNING_SLICE (seconds after which to stop and end with 75; none),
LEARNING_THREADS (all cores), LEARNING_SEEDS (3), LEARNING_RATES (0.0003,0.0007,0.0015,0.003,0.006),
LEARNING_BATCH_TOKENS (2304), LEARNING_SIDE (16) and LEARNING_PATCH (4) in pixels, LEARNING_THRESHOLD (0.9),
LEARNING_PROMPTS (256), LEARNING_READ_SECONDS (5) of training between readings, which later are a tenth of a run's
seconds apart, LEARNING_GRID_SECONDS (24) of each rate, LEARNING_SECONDS (120) that ours has, LEARNING_CAP (10) and
LEARNING_TABLE_CAP (2) times ours, LEARNING_DDIM_STEPS (25), and LEARNING_SCALE (1), which multiplies all seconds and
prompts: below 1 it rehearses every phase in little time, and its figures mean nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.latte.contender import latte
from bench.latte.network import Part, parameter_count
from bench.learning_contender import Trained
from bench.learning_folder import Folder
from bench.learning_ours import FlowObjective, Task, mark, our_model, questions
from bench.learning_race import Contender, Record, Rules
from bench.learning_report import chosen_rate, comparison, printed, table
from bench.learning_turns import Entry, Turns
from kinema_evaluation import EVALUATION_STEPS
from kinema_model.config import ModelConfig
from kinema_model.errors import ConfigError
from kinema_model.text.encoder import TextEncoder
from stage.measure import machine, quiet, result
from stage.slices import STOPPED, SliceOver

GRID_SEED = 0
OURS, BASELINE = "ours", "latte"
LEAST_PROMPTS = 8
GUESSED_SHARE = 0.25
"""Of the seconds that ours has, what it is taken to need until a run of it has got there: for the outlook alone."""


@dataclass(frozen=True)
class Settings:
    """All that changes a figure; seconds and prompts are already scaled."""

    threads: int
    seeds: int
    rates: tuple[float, ...]
    batch_tokens: int
    side: int
    patch: int
    threshold: float
    prompts: int
    read_seconds: float
    grid_seconds: float
    seconds: float
    cap: float
    table_cap: float
    ddim_steps: int

    @classmethod
    def from_environment(cls) -> Settings:
        def number(name: str, default: float) -> float:
            return float(os.environ.get(f"LEARNING_{name}", default))

        scale = number("SCALE", 1)
        rates = os.environ.get("LEARNING_RATES", "0.0003,0.0007,0.0015,0.003,0.006")
        return cls(
            threads=int(number("THREADS", os.cpu_count() or 1)),
            seeds=int(number("SEEDS", 3)),
            rates=tuple(float(rate) for rate in rates.split(",")),
            batch_tokens=int(number("BATCH_TOKENS", 2304)),
            side=int(number("SIDE", 16)),
            patch=int(number("PATCH", 4)),
            threshold=number("THRESHOLD", 0.9),
            prompts=max(LEAST_PROMPTS, round(scale * number("PROMPTS", 256))),
            read_seconds=scale * number("READ_SECONDS", 5),
            grid_seconds=scale * number("GRID_SECONDS", 24),
            seconds=scale * number("SECONDS", 120),
            cap=number("CAP", 10),
            table_cap=number("TABLE_CAP", 2),
            ddim_steps=int(number("DDIM_STEPS", 25)),
        )

    @property
    def race_seeds(self) -> range:
        return range(GRID_SEED + 1, GRID_SEED + 1 + self.seeds)


class Stable:
    """Makes contenders; texts are encoded when it is made, before any clock runs."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        network = ModelConfig.from_preset("tiny").network
        patched = network.model_copy(update={"patch_size": (1, settings.patch, settings.patch)})
        self.config = ModelConfig.from_preset("tiny", network=patched, height=settings.side, width_px=settings.side)
        self.encoder = TextEncoder()
        self._task(GRID_SEED).remember_texts()
        self.parameters = parameter_count(our_model(self.config, GRID_SEED))

    def _task(self, seed: int) -> Task:
        return Task(self.config, self.settings.batch_tokens, seed, self.encoder)

    def make(self, side: str, seed: int, rate: float) -> Contender:
        """A fresh one of ours, or of the baseline."""
        if side == BASELINE:
            return self.latte(seed, rate, ())
        objective = FlowObjective(self._task(seed), EVALUATION_STEPS, lambda model: model)
        return Trained(OURS, our_model(self.config, seed), objective, rate)

    def latte(self, seed: int, rate: float, parts: Sequence[Part]) -> Contender:
        """A fresh Latte with some of our parts; with a flow it is read as ours is."""
        steps = EVALUATION_STEPS if Part.FLOW in parts else self.settings.ddim_steps
        return latte(self._task(seed), self.parameters, rate, steps, parts)


class Bench:
    """The three phases: learning rates, the race, the table."""

    def __init__(self, settings: Settings, folder: Folder, slice_seconds: float) -> None:
        self.settings = settings
        self.folder = folder
        self.stable = Stable(settings)
        exam = questions(settings.prompts, GRID_SEED)
        rules = Rules(settings.read_seconds, settings.threshold, exam, mark)
        self._turns = Turns(folder, rules, slice_seconds, self.outlook)

    def rates(self) -> dict[str, float]:
        """The learning rate that each side does best with."""
        found: dict[float, list[Record]] = {}
        for rate in self.settings.rates:
            found[rate] = self._turns.take(
                [
                    Entry(
                        f"grid/{side}/{rate:g}",
                        partial(self.stable.make, side, GRID_SEED, rate),
                        partial(float, self.settings.grid_seconds),
                    )
                    for side in (OURS, BASELINE)
                ]
            )
        columns = zip(*found.values(), strict=True)
        return {
            side: chosen_rate(dict(zip(found, column, strict=True)))
            for side, column in zip((OURS, BASELINE), columns, strict=True)
        }

    def race(self, rates: dict[str, float]) -> Iterator[tuple[Record, Record]]:
        """Records of ours and of the baseline, seed by seed."""
        for seed in self.settings.race_seeds:
            make = {side: partial(self.stable.make, side, seed, rates[side]) for side in (OURS, BASELINE)}
            ours, baseline = self._turns.take(
                [
                    Entry(f"race/{OURS}/{seed}", make[OURS], partial(float, self.settings.seconds)),
                    Entry(
                        f"race/{BASELINE}/{seed}",
                        make[BASELINE],
                        partial(self.times_ours, seed, self.settings.cap),
                    ),
                ]
            )
            yield ours, baseline

    def parts(self, rate: float) -> Iterator[tuple[str, Record]]:
        """The baseline, then each part added to those before it, then ours as it is, on the first seed."""
        seed = self.settings.race_seeds[0]
        limit = partial(self.times_ours, seed, self.settings.table_cap)
        yield BASELINE, self.folder.records[f"race/{BASELINE}/{seed}"]
        parts = tuple(Part)
        for count, part in enumerate(parts, start=1):
            entry = Entry(f"table/{part}", partial(self.stable.latte, seed, rate, parts[:count]), limit)
            yield f"+ {part}", self._turns.take([entry])[0]
        yield OURS, self.folder.records[f"race/{OURS}/{seed}"]

    def times_ours(self, seed: int, factor: float) -> float:
        """A multiple of the seconds that ours took on a seed; all that ours has where it is not there (yet)."""
        ours = self.folder.records.get(f"race/{OURS}/{seed}")
        return self.settings.seconds if ours is None or ours.reached is None else factor * ours.reached

    def outlook(self) -> dict[str, float]:
        """Every run's key and the seconds of training that it is expected to take at most."""
        settings = self.settings
        known = [r.reached for key, r in self.folder.records.items() if f"/{OURS}/" in key and r.reached is not None]
        ours = min(known, default=settings.seconds * GUESSED_SHARE)
        plan = {f"grid/{side}/{rate:g}": settings.grid_seconds for rate in settings.rates for side in (OURS, BASELINE)}
        for seed in settings.race_seeds:
            plan[f"race/{OURS}/{seed}"] = ours
            plan[f"race/{BASELINE}/{seed}"] = settings.cap * ours
        return {**plan, **{f"table/{part}": settings.table_cap * ours for part in Part}}


def measured(bench: Bench) -> dict[str, Any]:
    """All phases; the figures of the last line."""
    rates = bench.rates()
    print(f"learning rates: {rates}", flush=True)
    pairs = list(bench.race(rates))
    ours, baseline = [mine for mine, _ in pairs], [theirs for _, theirs in pairs]
    rows = table(list(bench.parts(rates[OURS])))
    print(printed(rows), flush=True)
    return {
        **comparison(ours, baseline, bench.settings.cap),
        "seconds_by_seed": [record.reached for record in ours],
        "baseline_seconds_by_seed": [record.reached for record in baseline],
        "learning_rates": rates,
        "parameters": ours[0].parameters,
        "baseline_parameters": baseline[0].parameters,
        "table": rows,
    }


def main() -> int:
    """Measure and print; 75 where a slice ended before the benchmark did."""
    settings = Settings.from_environment()
    torch.set_num_threads(settings.threads)
    try:
        folder = Folder(Path(os.environ.get("LEARNING_FOLDER", "out/learning")), asdict(settings))
        was_quiet = float(os.environ.get("LEARNING_SCALE", "1")) >= 1 and quiet()
        figures = measured(Bench(settings, folder, float(os.environ.get("LEARNING_SLICE", "inf"))))
    except SliceOver:
        print("this slice is over: give the same command again to go on", flush=True)
        return STOPPED
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    result(
        "learning",
        samples=settings.seeds,
        machine=machine(),
        threads=settings.threads,
        side=settings.side,
        patch=settings.patch,
        threshold=settings.threshold,
        prompts=settings.prompts,
        **figures,
        quiet_before=was_quiet,
    )
    return 0 if figures["speedup"] is not None else 1


if __name__ == "__main__":
    sys.exit(main())
