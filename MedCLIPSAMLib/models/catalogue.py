"""The catalogue of models: their purposes and licenses, and the URLs and checksums of their files.

Code that needs a model looks up its entry with `find`; no code branches on a model's name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from ..errors import ModelError, check_type
from .catalogue_entry import Kind, Model, ModelFile

_HUB = "https://huggingface.co"
_BIOMEDCLIP = (
    f"{_HUB}/microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224/resolve/9f341de24bfb00180f1b847274256e9b65a3a32e"
)
_BIOMEDBERT = (
    f"{_HUB}/microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract/resolve/d673b8835373c6fa116d6d8006b33d48734e305d"
)
_DRIVE_FILE = "1jjnZabUlc9_gpcP0d2nz_GNS-EGX0lq5"
_META = "https://dl.fbaipublicfiles.com/segment_anything_2/092824"
CLIP_FILES = ("open_clip_config.json", "config.json", "vocab.txt", "tokenizer_config.json")

_BIOMEDCLIP_ARCHITECTURE = (
    ModelFile(
        "open_clip_config.json",
        f"{_BIOMEDCLIP}/open_clip_config.json",
        sha256="9a41f334a8c444678772c0ebb9ab854c97ab350bced3a17b803e258d39c23dc0",
    ),
    ModelFile("config.json", f"{_BIOMEDBERT}/config.json"),
    ModelFile("vocab.txt", f"{_BIOMEDBERT}/vocab.txt"),
    ModelFile("tokenizer_config.json", f"{_BIOMEDBERT}/tokenizer_config.json"),
)

_PAPER_SALIENCY = {"layer": 9, "beta": 1.0}
"""The authors' settings for breast ultrasound."""
_PAPER_BY_WORD = {"brain": {"beta": 2.0}}
"""The authors' settings for prompts that contain the word, here for brain MRI."""

_STARTER_LICENSE = (
    "Apache-2.0; the training images come under their own terms (CC BY 3.0 and 4.0, BUS-BRA's), which ask that "
    "their sources be named"
)
_STARTER_DATA = (
    "BUS-BRA breast ultrasound (Gomez-Flores et al. 2023), T1-weighted brain MR with contrast (Cheng et al. 2015, and "
    "TCGA-LGG slices without tumor), chest X-rays of covid-chestxray-dataset, lung nodules of LIDC-IDRI, and synthetic "
    "phantoms"
)
_STARTER_TESTED = (
    "Both together on other patients of the same sets, mean DSC: breast tumor .75 (60 images), brain tumor .58 (60), "
    "lungs in X-rays .86 (22), lung nodule .80 (60); 92 % of 60 ultrasound images without a tumor come out empty. On "
    "other hospitals' images they are worse."
)


def _sam2(size: str, config: str, purpose: str, file_bytes: int, sha256: str) -> Model:
    """Make an entry for one of Meta's SAM 2.1 models, with the mask selection that Meta's own predictor uses."""
    weights = f"sam2.1_hiera_{size.replace('-', '_')}.pt"
    stability = {
        "dynamic_multimask_via_stability": True,
        "dynamic_multimask_stability_delta": 0.05,
        "dynamic_multimask_stability_thresh": 0.98,
    }
    return Model(
        name=f"sam2.1-{size}",
        kind="sam",
        title=f"SAM 2.1 Hiera {size}",
        purpose=purpose,
        license="Apache-2.0",
        source="https://github.com/facebookresearch/sam2",
        folder=f"sam2.1-{size}",
        image_size=1024,
        seen="Photographs and videos (SA-1B, SA-V); hardly any medical image.",
        files=(ModelFile(weights, f"{_META}/{weights}", file_bytes, sha256),),
        config=f"configs/sam2.1/{config}.yaml",
        options={"sam_mask_decoder_extra_args": stability, "binarize_mask_from_pts_for_mem_enc": True},
    )


def _shipped(checksums: Mapping[str, str]) -> tuple[ModelFile, ...]:
    """Describe the files of a shipped model by their SHA-256, which must be updated when the model is retrained."""
    return tuple(ModelFile(name, sha256=checksum) for name, checksum in checksums.items())


MODELS: tuple[Model, ...] = (
    Model(
        name="demo",
        kind="clip",
        title="Demo CLIP",
        purpose="Trying the program offline; knows only the phantoms of four modalities.",
        license="Apache-2.0",
        source="MedCLIPSAMLib/demo_models",
        folder="demo-clip",
        image_size=128,
        seen="Only synthetic phantoms of breast ultrasound, brain MRI, chest X-ray and lung CT; no patient's image.",
        kinds="synthetic phantoms of breast ultrasound, brain MRI, chest X-ray and lung CT",
        synthetic=True,
        shipped=True,
        files=_shipped(
            {
                "open_clip_config.json": "941b5e83414f6de345289ab1678a880c635999e6cee483773883ee0b508fbcae",
                "config.json": "b8a7207ea93ac78ac6f8fe91be8f502c755f46051d8585fd6ee103443621004e",
                "vocab.txt": "2c53cba6c715a2baaf961fc0913d539337ebeb67b71623126c50ec8632daf48a",
                "tokenizer_config.json": "b500b2b9b627faf22b3198bfb345b132c0a6ad1411a647af621690a5abce07d2",
                "open_clip_model.safetensors": "d758e4d643edc3f76e2e2c70c74668b1c1f4c04733cd1960985c142c41ce3bdb",
            }
        ),
        saliency={"layer": 3, "beta": 0.3, "steps": 15},
        by_word={word: {"steps": 10} for word in ("tumor", "tumour", "nodule", "mass", "lesion")},
    ),
    Model(
        name="starter",
        kind="clip",
        title="Starter CLIP",
        purpose="Small and offline, for images like those it has seen; other hospitals' images are hard for it.",
        license=_STARTER_LICENSE,
        source="MedCLIPSAMLib/starter",
        folder="starter-clip",
        shipped=True,
        image_size=224,
        seen=(
            f"A few thousand real images, with outlines of what its texts name: {_STARTER_DATA}; 389 chest X-rays of "
            "the Shenzhen set without outlines. It learned places from outlines, so its masks are no evidence of "
            "segmentation from texts alone."
        ),
        kinds="breast ultrasound, brain MRI with contrast, chest X-ray and lung nodules in CT",
        tested=_STARTER_TESTED,
        files=_shipped(
            {
                "open_clip_config.json": "3baa01cd40405155b1b8a2e5b79f64bb48fbe1ff5bc4fb1029c17cb9c8402e86",
                "config.json": "873f7116843a7eb80255010fe97c15c667b97771b197d1665409e928c38fe0fd",
                "vocab.txt": "5673c92fc9b2ec5b1d8173c279f88152e48a4cc6126827cc12226327ace00c6e",
                "tokenizer_config.json": "b500b2b9b627faf22b3198bfb345b132c0a6ad1411a647af621690a5abce07d2",
                "open_clip_model.safetensors": "b074d7a7dbddbe54845e0c9a29ab2c85a563e9c5e17111a01a5d108a7bef0c2a",
                "statistics.safetensors": "a520ae08138ab7b9250d3e77a1c34d8e3cb974eaaf4b35b4a295f5d8b1c8a509",
            }
        ),
        saliency={"layer": 7, "beta": 0.3, "steps": 12, "earliest": 8},
        answer={
            "prompts": {"margin": 0.2},
            "agreement": {"min_iou": 0.15, "min_iou_in_doubt": 0.4, "certain": 0.9},
        },
    ),
    Model(
        name="biomedclip",
        kind="clip",
        title="BiomedCLIP",
        purpose="Biomedical images and texts, as published by Microsoft (PMC-15M).",
        license="MIT",
        source=f"{_HUB}/microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
        folder="biomedclip",
        image_size=224,
        seen="15 million figures and captions of articles in PubMed Central (PMC-15M).",
        files=(
            *_BIOMEDCLIP_ARCHITECTURE,
            ModelFile(
                "open_clip_pytorch_model.bin",
                f"{_BIOMEDCLIP}/open_clip_pytorch_model.bin",
                783_705_670,
                "52cc993c5c5ff962bd0c60931874bc001e7e9b41666a385530f4a036294576be",
            ),
        ),
        saliency=_PAPER_SALIENCY,
        by_word=_PAPER_BY_WORD,
    ),
    Model(
        name="medclip-samv2",
        kind="clip",
        title="BiomedCLIP fine-tuned with DHN-NCE",
        purpose="BiomedCLIP fine-tuned on MedPix by the authors of MedCLIP-SAMv2: the weights of the paper.",
        license="None stated: ask the authors",
        source="https://github.com/HealthX-Lab/MedCLIP-SAMv2",
        folder="medclip-samv2",
        image_size=224,
        seen="PMC-15M, then 20,292 images and captions of MedPix.",
        files=(
            *_BIOMEDCLIP_ARCHITECTURE,
            ModelFile(
                "pytorch_model.bin",
                f"https://drive.usercontent.google.com/download?id={_DRIVE_FILE}&export=download&confirm=t",
            ),
        ),
        saliency=_PAPER_SALIENCY,
        by_word=_PAPER_BY_WORD,
        by_hand=f"Open https://drive.google.com/file/d/{_DRIVE_FILE}/view in a browser and save 'pytorch_model.bin'",
    ),
    Model(
        name="demo",
        kind="sam",
        title="Demo SAM 2",
        purpose="Trying the program offline; trained on the phantoms of four modalities.",
        license="Apache-2.0",
        source="MedCLIPSAMLib/demo_models",
        folder="demo-sam",
        image_size=192,
        seen="Only synthetic phantoms of breast ultrasound, brain MRI, chest X-ray and lung CT; no patient's image.",
        synthetic=True,
        shipped=True,
        files=_shipped(
            {
                "sam2_demo.yaml": "f7744ae9bec49074ef2015399825f62fbee0993105157604ffb7c0fa99d063d4",
                "model.safetensors": "430d13c62f44a987d1d2b9c8842f10246546205057cd280ee099dbb6244d6a03",
            }
        ),
    ),
    Model(
        name="starter",
        kind="sam",
        title="Starter SAM 2",
        purpose="Small and offline, for images like those it has seen; other hospitals' images are hard for it.",
        license=_STARTER_LICENSE,
        source="MedCLIPSAMLib/starter",
        folder="starter-sam",
        shipped=True,
        image_size=320,
        seen=f"A few thousand real images with their masks: {_STARTER_DATA}; fetal heads of HC18.",
        tested=_STARTER_TESTED,
        files=_shipped(
            {
                "sam2_starter.yaml": "0763f515e17613ef5bb765890616638d3e0b5dd24a32c6c00ca3d8ef9b56cc08",
                "model.safetensors": "ddc900b8e55b42ef79f6ddea32d2247ea2a343edb1bc06882e93c8a6dd2eb9d0",
            }
        ),
    ),
    _sam2(
        "tiny",
        "sam2.1_hiera_t",
        "The fastest of SAM 2.1; enough on a CPU.",
        156_008_466,
        "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69",
    ),
    _sam2(
        "small",
        "sam2.1_hiera_s",
        "A little slower and better than tiny.",
        184_416_285,
        "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38",
    ),
    _sam2(
        "base-plus",
        "sam2.1_hiera_b+",
        "Better outlines; for a GPU, as it is slow on a CPU.",
        323_606_802,
        "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5",
    ),
    _sam2(
        "large",
        "sam2.1_hiera_l",
        "The best outlines; for a GPU.",
        898_083_611,
        "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318",
    ),
)


def find(name: str, kind: Kind | None = None, models: Sequence[Model] = MODELS) -> Model:
    """Find the entry with a given name among `models`.

    `kind` is needed when models of both kinds have that name, such as "demo". `store.find` searches the user's own
    models too.

    Raises:
        ModelError: there is no such entry; the message lists the existing ones.
    """
    entries = [model for model in models if kind in (None, model.kind)]
    for model in entries:
        if model.name == name:
            return model
    what = {"clip": "text-image model", "sam": "SAM model"}.get(str(kind), "model")
    names = list(dict.fromkeys(model.name for model in entries))
    check_type(name, str, f"the name of a {what}", f"There are: {', '.join(names)}.", ModelError)
    close = get_close_matches(name, names, n=1)
    raise ModelError(
        f"There is no {what} '{name}'.",
        (f"Did you mean '{close[0]}'? " if close else "") + f"There are: {', '.join(names)}.",
    )
