"""Nearest class mean: the frozen model's features are compared with the mean of each label's; no gradient.

Mensink et al. 2013, "Distance-based image classification": argmin_c ‖x − μ_c‖²; with the cosine as in iCaRL (Rebuffi et
al. 2017), argmax_c of the cosine between x and the mean of the label's features at unit length. The order of the tasks
does not matter.
"""

from typing import Literal

from torch import Tensor, nn

from clbench.errors import unknown
from clbench.toolkit import FeatureKind, FrozenFeatures, Moments


class NearestClassMean(FrozenFeatures):
    """A label's score is −‖x − μ_c‖² + ‖x‖² (the same for all labels), or the cosine; a label keeps one mean.

    Args:
        metric: on dev of wordnet_class and text_seq (task) "euclidean" gave .690 and .768, "cosine" .683 and .772.
        features: the "mean" of the last layer's token states gave .690 and .768, what the "output_layer" reads .525 and
            .714: minilm was pretrained with the mean. Of an image it is always the latter.
    """

    keep_products = False

    def __init__(self, metric: Literal["euclidean", "cosine"] = "euclidean", features: FeatureKind = "mean") -> None:
        super().__init__(features)
        if metric not in ("euclidean", "cosine"):
            raise unknown("metric of ncm", metric, ("euclidean", "cosine"))
        self.metric = metric

    @property
    def linear(self) -> bool:
        """Of the features themselves; the cosine is so of their direction."""
        return self.metric == "euclidean"

    def transform(self, features: Tensor) -> Tensor:
        """For the cosine, features of unit length."""
        return nn.functional.normalize(features) if self.metric == "cosine" else features

    def solve(self, moments: Moments) -> tuple[Tensor, Tensor]:
        """The distances, and the cosine, are linear in x."""
        if self.metric == "cosine":
            return nn.functional.normalize(moments.means), moments.means.new_zeros(len(moments.means))
        return 2 * moments.means, -moments.means.square().sum(1)
