"""What a kept model's tokenizer, label names and linear layer keep of the run's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clbench.models import centred, label_names, save_tokenizer
from tests.models import zoo


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_saved_tokenizer_pads_cuts_and_splits_as_the_runs(side: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = zoo.tokenizer(0, 1, ["apple", "river"])  # 0 pads, 1 ends, 3 begins; 4 and 5 are the words
    tokenizer.split_special_tokens, tokenizer.truncation_side = True, "left"
    tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    save_tokenizer(tokenizer, tmp_path, 4, side)
    found = AutoTokenizer.from_pretrained(tmp_path)(["apple", "apple river river river"], padding=True, truncation=True)
    assert dict(found) == {
        "input_ids": [[0, 3, 4, 1] if side == "left" else [3, 4, 1, 0], [3, 5, 5, 1]],
        "attention_mask": [[0, 1, 1, 1] if side == "left" else [1, 1, 1, 0], [1, 1, 1, 1]],
    }
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again("[SEP]")["input_ids"] == tokenizer("[SEP]")["input_ids"] != [3, 1, 1]
    assert (tokenizer.padding_side, tokenizer.model_max_length > 4) == ("right", True)  # the run's own stays as it was


def test_labels_of_equal_names_get_their_tasks_in_front() -> None:
    tasks = [("app", [0, 1]), ("web", [2, 3])]
    assert label_names(["open", "closed", "open", "won"], tasks) == ["app/open", "closed", "web/open", "won"]
    assert label_names(["open", "closed"], [("app", [0, 1]), ("web", [0, 1])]) == ["open", "closed"]


def test_what_all_rows_share_is_taken_out_before_fp32_loses_the_rest() -> None:
    """Rows (1e6 + 1, 2), (1e6 - 1, 4) and biases 1e7 ± 1, by hand: (1, -1), (-1, 1) and ± 1; the third is no answer."""
    weight = torch.tensor([[1e6 + 1, 2.0], [1e6 - 1, 4.0], [0.0, 0.0]], dtype=torch.float64)
    bias = torch.tensor([1e7 + 1, 1e7 - 1, torch.finfo(torch.float32).min], dtype=torch.float64)
    rows, constants = centred(weight, bias)
    assert rows.tolist() == [[1, -1], [-1, 1], [0, 0]]
    assert constants.tolist() == [1, -1, torch.finfo(torch.float32).min]
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    exact = (x.double() @ weight.T + bias).softmax(-1).float()
    torch.testing.assert_close((x @ rows.float().T + constants.float()).softmax(-1), exact, atol=1e-6, rtol=0)
    assert ((x @ weight.float().T + bias.float()).softmax(-1) - exact).abs().max() > 0.05
