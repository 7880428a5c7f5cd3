"""What is known of each benchmark: categories, counts, licence, citation, how to come by it.

Nothing here was fetched by us. Counts, licences and addresses are second-hand (K2): from the papers
and read-me files of the data sets, from public code that loads them, and, for MVTec AD and VisA,
from several people's listings of the same archive. A count that two sources contradict is None.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

NC = "CC BY-NC-SA 4.0, not for commercial use"


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Images of a benchmark or a category; None where the number is not sure.

    Attributes:
        train: Normal images to train on.
        good: Normal images to test on.
        bad: Defective images to test on.
        seen: Defective images of the training split.
        images: All of them together.
    """

    train: int | None = None
    good: int | None = None
    bad: int | None = None
    seen: int | None = 0
    images: int | None = None


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One data set.

    Attributes:
        title: As its authors call it.
        categories: In alphabetical order, as its folders are called.
        counts: Of all categories together.
        each: Counts of single categories, where they are sure.
        licence: In a few words.
        cite: What to cite, with DOI or arXiv number.
        home: Its home page.
        needs: What a download asks for.
        folders: What its archive unpacks to; looked for beside its short name.
        address: Of the archive, where it is stable and its hash is known.
        known_hash: Of the archive, as pooch writes it ("sha256:..." or "md5:...").
    """

    title: str
    categories: tuple[str, ...]
    counts: Counts
    licence: str
    cite: str
    home: str
    needs: str
    folders: tuple[str, ...] = ()
    each: Mapping[str, Counts] = field(default_factory=lambda: MappingProxyType({}))
    address: str | None = None
    known_hash: str | None = None

    @property
    def notice(self) -> str:
        """Licence and citation, as they are shown before use."""
        return f"{self.title}: licensed {self.licence}. Please cite {self.cite}."


def _each(table: str) -> Mapping[str, Counts]:
    """Counts from lines of `category train good bad`."""
    rows = [line.split() for line in table.strip().splitlines()]
    return {
        name: Counts(train=int(train), good=int(good), bad=int(bad))
        for name, train, good, bad in rows
    }


# recalled by us; the columns of each table add up to totals that come from elsewhere
MVTEC_AD = _each("""
bottle     209 20  63
cable      224 58  92
capsule    219 23 109
carpet     280 28  89
grid       264 21  57
hazelnut   391 40  70
leather    245 32  92
metal_nut  220 22  93
pill       267 26 141
screw      320 41 119
tile       230 33  84
toothbrush  60 12  30
transistor 213 60  40
wood       247 19  60
zipper     240 32 119
""")
VISA = _each("""
candle     900 100 100
capsules   542  60 100
cashew     450  50 100
chewinggum 453  50 100
fryum      450  50 100
macaroni1  900 100 100
macaroni2  900 100 100
pcb1       904 100 100
pcb2       901 100 100
pcb3       905 101 100
pcb4       904 101 100
pipe_fryum 450  50 100
""")
MPDD = _each("""
bracket_black 289 32 47
bracket_brown 185 26 51
bracket_white 110 30 30
connector     128 30 14
metal_plate    54 26 71
tubes         122 32 69
""")
REAL_IAD = """audiojack bottle_cap button_battery end_cap eraser fire_hood mint mounts pcb
    phone_battery plastic_nut plastic_plug porcelain_doll regulator rolled_strip_base sim_card_set
    switch tape terminalblock toothbrush toy toy_brick transistor1 u_block usb usb_adaptor vcpill
    wooden_beads woodstick zipper"""
DTD = """banded blotchy braided bubbly bumpy chequered cobwebbed cracked crosshatched crystalline
    dotted fibrous flecked freckled frilly gauzy grid grooved honeycombed interlaced knitted
    lacelike lined marbled matted meshed paisley perforated pitted pleated polka-dotted porous
    potholed scaly smeared spiralled sprinkled stained stratified striped studded swirly veined
    waffled woven wrinkled zigzagged"""

BENCHMARKS: dict[str, Benchmark] = {
    "mvtec-ad": Benchmark(
        title="MVTec AD",
        categories=tuple(MVTEC_AD),
        counts=Counts(train=3629, good=467, bad=1258, images=5354),
        each=MVTEC_AD,
        licence=NC,
        cite="Bergmann et al., MVTec AD, CVPR 2019, doi:10.1109/CVPR.2019.00982; Bergmann et al., "
        "The MVTec Anomaly Detection Dataset, IJCV 129 (2021), doi:10.1007/s11263-020-01400-4",
        home="https://www.mvtec.com/company/research/datasets/mvtec-ad",
        needs="a form on its home page (5.3 GB)",
        folders=("mvtec_anomaly_detection", "mvtec_ad", "mvtec", "MVTecAD"),
        # no address: the public ones have changed several times, and the form is there to be filled
        known_hash="sha256:cf4313b13603bec67abb49ca959488f7eedce2a9f7795ec54446c649ac98cd3d",
    ),
    "visa": Benchmark(
        title="VisA",
        categories=tuple(VISA),
        counts=Counts(train=8659, good=962, bad=1200, images=10821),  # the 1-class split
        each=VISA,
        licence="CC BY 4.0",
        cite="Zou et al., SPot-the-Difference Self-Supervised Pre-training for Anomaly Detection "
        "and Segmentation, ECCV 2022, arXiv:2207.14315",
        home="https://github.com/amazon-science/spot-diff",
        needs="nothing (1.9 GB)",
        folders=("VisA_20220922", "VisA", "VisA_pytorch/1cls", "VisA_pytorch", "1cls"),
        address="https://amazon-visual-anomaly.s3.us-west-2.amazonaws.com/VisA_20220922.tar",
        known_hash="sha256:2eb8690c803ab37de0324772964100169ec8ba1fa3f7e94291c9ca673f40f362",
    ),
    "real-iad": Benchmark(
        title="Real-IAD",
        categories=tuple(REAL_IAD.split()),
        counts=Counts(train=36465, good=63256, bad=51329, images=151050),  # all five views
        licence=NC,
        cite="Wang et al., Real-IAD: A Real-World Multi-View Dataset for Benchmarking Versatile "
        "Industrial Anomaly Detection, CVPR 2024, arXiv:2403.12580",
        home="https://realiad4ad.github.io/Real-IAD",
        needs="a request to its authors, and an account where they host it; one ZIP an object, and "
        "realiad_jsons.zip",
        folders=("Real-IAD", "realiad"),
    ),
    "btad": Benchmark(
        title="BTAD",
        categories=("01", "02", "03"),
        counts=Counts(train=1799),  # which product has 399 of them and which 1,000 is contradicted
        licence="CC BY-SA 4.0",
        cite="Mishra et al., VT-ADL: A Vision Transformer Network for Image Anomaly Detection and "
        "Localization, ISIE 2021, doi:10.1109/ISIE45552.2021.9576231, arXiv:2104.10036",
        home="https://github.com/pankajmishra000/VT-ADL",
        needs="nothing",
        folders=("BTech_Dataset_transformed", "BTAD", "BTech"),
        address="https://avires.dimi.uniud.it/papers/btad/btad.zip",
        known_hash="sha256:461c9387e515bfed41ecaae07c50cf6b10def647b36c9e31d239ab2736b10d2a",
    ),
    "dagm": Benchmark(
        title="DAGM 2007",
        categories=tuple(sorted(f"Class{k}" for k in range(1, 11))),
        counts=Counts(seen=None, images=16100),  # 8,050 in each split; 2,100 of all are defective
        licence="CC BY 4.0 as published on Zenodo; older pages name none",
        cite="Wieler, Hahn and Hamprecht, Weakly Supervised Learning for Industrial Optical "
        "Inspection, DAGM 2007, doi:10.5281/zenodo.12750201",
        home="https://conferences.mpi-inf.mpg.de/dagm/2007/prizes.html",
        needs="nothing on Zenodo; an account where Kaggle hosts it",
        folders=("DAGM2007", "DAGM", "DAGM_KaggleUpload"),
    ),
    "ksdd2": Benchmark(
        title="KolektorSDD2",
        categories=("ksdd2",),
        counts=Counts(train=2085, good=894, bad=110, seen=246, images=3335),
        licence=NC,
        cite="Božič, Tabernik and Skočaj, Mixed supervision for surface-defect detection, "
        "Computers in Industry 129 (2021), doi:10.1016/j.compind.2021.103459, arXiv:2104.06064",
        home="https://www.vicos.si/resources/kolektorsdd2/",
        needs="nothing (0.9 GB)",
        folders=("KolektorSDD2", "KSDD2"),
    ),
    "mpdd": Benchmark(
        title="MPDD",
        categories=tuple(MPDD),
        counts=Counts(train=888, good=176, bad=282, images=1346),
        each=MPDD,
        licence=NC,
        cite="Jezek et al., Deep learning-based defect detection of metal parts: evaluating "
        "current methods in complex conditions, ICUMT 2021, doi:10.1109/ICUMT54235.2021.9631567",
        home="https://github.com/stepanje/MPDD",
        needs="a visit to the shared folder that its home page links to",
        folders=("MPDD",),
    ),
    "dtd": Benchmark(
        title="DTD (textures)",
        categories=tuple(DTD.split()),
        counts=Counts(train=5640, good=0, bad=0, images=5640),
        licence="for research; the photographs stay with their owners",
        cite="Cimpoi et al., Describing Textures in the Wild, CVPR 2014, "
        "doi:10.1109/CVPR.2014.461, arXiv:1311.3618",
        home="https://www.robots.ox.ac.uk/~vgg/data/dtd/",
        needs="nothing (0.6 GB)",
        folders=("dtd-r1.0.1", "dtd-r1.0.1/dtd", "DTD"),
        address="https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz",
        known_hash="md5:fff73e5086ae6bdbea199a49dfb8a4c1",
    ),
}
