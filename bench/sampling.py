"""`make bench-sampling`: the log-loss on the validation period of LightGBM trained on 10, 30 and 100 % of the rows.

The rows are drawn at random from the training period, several times. A seed is that of the sample and of LightGBM, so
that the spread at 100 % is what LightGBM's own seed changes, and a sample is compared with all rows under the same
seed. The parameters are those of params.yaml, which were tuned on all rows. Writes reports/bench_sampling.json. Needs
`make train`.
"""

import os
import statistics
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ontime import evaluation, model, split
from ontime.batches import Batches
from ontime.params import Params, load_params
from ontime.progress import progress_bar
from pipelines import labelled
from pipelines.labelled import LabelledRows
from pipelines.layout import REPORTS, write_json

SHARES = (0.1, 0.3, 1.0)
SEEDS = 5


class SampledFit(NamedTuple):
    share: float
    seed: int
    rows: int
    log_loss: float
    cpu_seconds: float


def fit_sample(
    share: float, seed: int, matrix: model.Matrix, train: LabelledRows, valid: LabelledRows, params: Params
) -> SampledFit:
    """Fit on a share of the rows, drawn without replacement and kept in their order, with their request-only copies."""
    count = round(share * len(matrix))
    chosen = np.sort(np.random.default_rng(seed).choice(len(matrix), count, replace=False))
    with_seed = params.train.model_copy(update={"seed": seed})
    rows, labels = model.with_request_only(
        Batches.of(matrix[chosen]), train.label[chosen], with_seed.request_only_share, seed
    )
    start = time.process_time()
    fitted = model.fit("lightgbm", rows, labels, with_seed)
    cpu_seconds = time.process_time() - start
    log_loss = float(evaluation.losses(valid.label, model.predict(fitted, valid.rows)).mean())
    return SampledFit(share, seed, count, log_loss, cpu_seconds)


def means(fits: Sequence[SampledFit]) -> list[dict[str, Any]]:
    """Of each share: the log-loss of all seeds, and by how much it is above that of all rows with the same seed."""
    whole = {fit.seed: fit.log_loss for fit in fits if fit.share == max(SHARES)}
    lines = []
    for share in SHARES:
        of_share = [fit for fit in fits if fit.share == share]
        losses = [fit.log_loss for fit in of_share]
        above = [fit.log_loss - whole[fit.seed] for fit in of_share]
        lines.append(
            {
                "share": share,
                "rows": of_share[0].rows,
                "log_loss": {"mean": round(statistics.mean(losses), 5), "lowest": round(min(losses), 5),
                             "highest": round(max(losses), 5), "deviation": round(statistics.stdev(losses), 5)},
                "above_all_rows": {"mean": round(statistics.mean(above), 5), "lowest": round(min(above), 5),
                                   "highest": round(max(above), 5)},
                "cpu_seconds": round(statistics.median(fit.cpu_seconds for fit in of_share), 1),
            }
        )  # fmt: skip
    return lines


def main() -> None:
    params = load_params()
    periods = split.periods(params.split)
    count, categories = labelled.survey(periods["train"])
    train = labelled.read_rows(periods["train"], count, categories)
    valid = labelled.read_rows(periods["valid"], labelled.survey(periods["valid"]).rows, categories)
    matrix = train.rows.in_memory()
    pairs = [(share, seed) for seed in range(1, SEEDS + 1) for share in SHARES]
    fits = [
        fit_sample(share, seed, matrix, train, valid, params)
        for share, seed in progress_bar(pairs, desc="bench-sampling", unit="fits")
    ]
    lines = means(fits)
    write_json(REPORTS / "bench_sampling.json", {"cores": os.cpu_count(), "seeds": SEEDS, "shares": lines})
    print(f"{'share':>6}{'rows':>10}  {'log-loss (lowest to highest)':<32}{'above all rows':<32}{'CPU s':>6}")
    for line in lines:
        loss, above = line["log_loss"], line["above_all_rows"]
        print(
            f"{line['share']:>6.0%}{line['rows']:>10,}  "
            f"{loss['mean']:.4f} ({loss['lowest']:.4f} to {loss['highest']:.4f})".ljust(50)
            + f"{above['mean']:+.4f} ({above['lowest']:+.4f} to {above['highest']:+.4f})".ljust(32)
            + f"{line['cpu_seconds']:>6.1f}"
        )


if __name__ == "__main__":
    main()
