"""Clean labels: training rows whose label is probably wrong are left out, by confident learning.

Northcutt, Jiang & Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels" (cleanlab): out-of-sample
probabilities are compared with each label's mean self-confidence, which estimates how many of one label's rows are of
another; so many, with the largest margins, are left out (prune by noise rate). The probabilities are here those of a
logistic regression on the features of the model as it was pretrained, cross-validated in five folds.
"""

import datasets
import numpy as np
import torch

from clbench import Learner, Strategy, Task
from clbench.errors import InputError
from clbench.toolkit import Part, Range, read_features, stream_seed


class CleanLabels(Strategy):
    """Needs `pip install 'clbench[clean]'`. The log has each row that was left out, and which label it seems to be.

    Dev and test rows are not cleaned, so that all strategies are measured alike. Features are those of the pretrained
    model, whatever else is trained; those of a model with random weights tell little.

    Args:
        folds: of the cross-validation, 2 or more; a task of one label, or with a single row of one, stays as it is.
        regularisation: C of the logistic regression on standardised features, above 0; not tuned.
    """

    is_recipe = True
    kinds = ("text", "image")
    hook_phases = {"examples": "clean"}
    search_spaces = {"regularisation": Range(0.01, 10.0, log=True)}

    def __init__(self, folds: int = 5, regularisation: float = 1.0) -> None:
        if folds < 2:
            raise InputError(f"clean_labels: {folds=}; allowed: 2 or more")
        if regularisation <= 0:
            raise InputError(f"clean_labels: {regularisation=}; allowed: above 0")
        self.folds, self.regularisation = folds, regularisation

    def examples(self, learner: Learner, task: Task, rows: datasets.Dataset) -> datasets.Dataset:
        """The rows whose label seems right."""
        try:
            from cleanlab.filter import find_label_issues
        except ImportError:
            raise InputError("clean_labels needs cleanlab; to install it: pip install 'clbench[clean]'") from None
        labels = np.array(rows["label"][:])
        counts = np.bincount(labels, minlength=len(task.labels))
        if len(counts) < 2 or counts.min() < 2:
            why = "it has one label" if len(counts) < 2 else "a label has fewer than 2 rows"
            learner.note("clean_labels", task=task.name, left_out=[], why=why)
            return rows
        probabilities = self._probabilities(learner, task, rows, labels, int(counts.min()))
        wrong = find_label_issues(labels, probabilities, filter_by="prune_by_noise_rate", n_jobs=1)
        left_out = [
            {"row": int(number), "label": task.labels[labels[number]], "seems": task.labels[best]}
            for number, best in zip(np.flatnonzero(wrong), probabilities[wrong].argmax(1), strict=True)
        ]
        text = f"clean_labels: {len(left_out)} of {len(labels)} rows of {task.name} left out; log.jsonl names them"
        learner.note("clean_labels", task=task.name, rows=len(labels), left_out=left_out, text=text)
        return rows.select(np.flatnonzero(~wrong).tolist())

    def _probabilities(
        self, learner: Learner, task: Task, rows: datasets.Dataset, labels: np.ndarray, fewest: int
    ) -> np.ndarray:
        """Out-of-sample probabilities (rows, labels)."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import StratifiedKFold, cross_val_predict
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        part = Part(rows, task.labels, tuple(range(len(task.labels))), 0)
        encoded = learner.kind.encode([part], learner.tokenizer, learner.longest_text or 0)
        learner.model.eval()
        with torch.no_grad():
            features = read_features(learner, encoded.examples[0]).features
        seed = stream_seed(learner.seed, "clean_labels", task.name) % 2**32
        folds = StratifiedKFold(min(self.folds, fewest), shuffle=True, random_state=seed)
        model = make_pipeline(StandardScaler(), LogisticRegression(C=self.regularisation, max_iter=1000))
        found: np.ndarray = cross_val_predict(
            model, features.numpy(), labels, cv=folds, method="predict_proba", n_jobs=1
        )
        return found
