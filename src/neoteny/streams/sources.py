"""Which official files a data set has, where they are published, and what they must be."""

from typing import NamedTuple


class File(NamedTuple):
    """An official file: what it must be as published, and what once decompressed.

    Where the latter is not known, only the file as published is used.
    """

    name: str
    size: int
    sha256: str
    unzipped_size: int | None = None
    unzipped_sha256: str | None = None


class Source(NamedTuple):
    """Where files are published, and which; IDX files to train on come first, images, then labels.

    - `folder`: the one that they share with those of another data set.
    - `instead`: what else there is to do for who does not have the files.
    """

    mirrors: tuple[str, ...]
    files: tuple[File, ...]
    folder: str | None = None
    instead: str = ""


NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
_UNZIPPED_SIZES = (47_040_016, 60_008, 7_840_016, 10_008)


def _files(
    sizes: list[int], sha256: list[str], unzipped_sha256: list[str | None]
) -> tuple[File, ...]:
    rows = zip(NAMES, sizes, sha256, _UNZIPPED_SIZES, unzipped_sha256, strict=True)
    return tuple(File(*row) for row in rows)


_KMNIST = Source(
    ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
    _files(
        [18_165_135, 29_497, 3_041_136, 5_120],
        [
            "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        ],
        [
            None,
            None,
            "76fbd229ce87db80dd281af5e6670de4ad0e42fb30a7bd643972994c47c1f42e",
            "a11dc742be8e781a40a92f53d6a4957e7b7d36df2faa097659131ebfd8fd60c6",
        ],
    ),
    instead=" `kmnist-t10k` does with the t10k files.",
)


def _archives(dataset: str, mirrors: tuple[str, ...], *files: File) -> Source:
    return Source(mirrors, files, instead=f" Plain arrays `{dataset}.npz` do as well.")


_CIFAR = ("https://www.cs.toronto.edu/~kriz/",)

# Of MNIST and its kin, computed from copies whose MD5s are those the authors published: a test
# compares. Of KMNIST's training half, CIFAR and Omniglot, those that TensorFlow Datasets pins; of
# Tiny ImageNet, what several public projects found independently.
SOURCES = {
    "mnist": Source(
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        _files(
            [9_912_422, 28_881, 1_648_877, 4_542],
            [
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            ],
            [
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            ],
        ),
    ),
    "fashion-mnist": Source(
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        _files(
            [26_421_880, 29_515, 4_422_102, 5_148],
            [
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            ],
            [
                "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
                "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            ],
        ),
    ),
    "kmnist": _KMNIST,
    "kmnist-t10k": Source(_KMNIST.mirrors, _KMNIST.files[2:], folder="kmnist"),
    "cifar10": _archives(
        "cifar10",
        _CIFAR,
        File(
            "cifar-10-binary.tar.gz",
            170_052_171,
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        ),
    ),
    "cifar100": _archives(
        "cifar100",
        _CIFAR,
        File(
            "cifar-100-binary.tar.gz",
            168_513_733,
            "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        ),
    ),
    "tiny-imagenet-32": _archives(
        "tiny-imagenet-32",
        ("http://cs231n.stanford.edu/",),
        File(
            "tiny-imagenet-200.zip",
            248_100_043,
            "6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821",
        ),
    ),
    "omniglot": _archives(
        "omniglot",
        ("https://github.com/brendenlake/omniglot/raw/master/python/",),
        File(
            "images_background.zip",
            9_464_212,
            "ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640",
        ),
        File(
            "images_evaluation.zip",
            6_462_886,
            "1f61a8f3366785b057fc117d9228e78a16e3d976c8953b2a10fcc74cf0609cee",
        ),
    ),
}
