"""Models that read page images: transformers' own classes and processors, with tiny random weights, as the oracle.

It shows that prompts, masks, places and scores are those of transformers, not how well real weights find pages.
"""

from __future__ import annotations

import numpy as np
import pytest

import tiny_vision as tiny
from latewood import maxsim
from latewood.encode import VisionEncoder, load
from latewood.errors import InputError, ModelError
from latewood.pages import OVERVIEW, PATCH, PLACELESS, PageGrid
from latewood.protocols import PageEncoder
from latewood.types import MultiVectors

KINDS = ("colpali", "colqwen2", "colmodernvbert")
QUESTIONS = ["Which ring is late?", "wood", "The density of a tree ring that grows late in the season, in kg/m3"]


def picture(width, height, seed=0):
    from PIL import Image

    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))


PICTURES = [(90, 130), (130, 90), (64, 64), (40, 200)]


@pytest.fixture(scope="module", params=KINDS)
def checkpoint(request, tmp_path_factory):
    """The kind, its folder, our encoder, and transformers' own model and processor."""
    import transformers

    folder = getattr(tiny, request.param)(tmp_path_factory.mktemp(request.param) / "model")
    names = {"colpali": "ColPali", "colqwen2": "ColQwen2", "colmodernvbert": "ColModernVBert"}
    model = getattr(transformers, f"{names[request.param]}ForRetrieval").from_pretrained(folder).eval()
    processor = getattr(transformers, f"{names[request.param]}Processor").from_pretrained(folder)
    return request.param, folder, load(folder), model, processor


def own(model, inputs):
    """transformers' embeddings of a batch, and their masks."""
    import torch

    with torch.inference_mode():
        given = {key: value for key, value in inputs.items() if key != "labels"}
        return model(**given).embeddings, inputs["attention_mask"].bool()


def alone(model, batches):
    found = [own(model, inputs) for inputs in batches]
    return [vectors[0][mask[0]].numpy() for vectors, mask in found]


def test_vectors_are_those_of_transformers(checkpoint):
    _, _, encoder, model, processor = checkpoint
    assert isinstance(encoder, VisionEncoder)
    assert isinstance(encoder, PageEncoder)
    images = [picture(*size, seed) for seed, size in enumerate(PICTURES)]
    pages = encoder.encode_pages(images)
    for i, expected in enumerate(alone(model, [processor.process_images([image]) for image in images])):
        np.testing.assert_allclose(pages.tokens[i], expected, atol=1e-5)
    for question, expected in zip(
        QUESTIONS, alone(model, [processor.process_queries([q]) for q in QUESTIONS]), strict=True
    ):
        np.testing.assert_allclose(encoder.encode_query(question).tokens, expected, atol=1e-5)
    assert encoder.spec.dim == pages.tokens.dim == 16
    np.testing.assert_allclose(np.linalg.norm(pages.tokens.tokens, axis=1), 1, atol=1e-5)


def test_scores_are_score_retrieval_s_where_nothing_is_padded(checkpoint):
    import torch

    _, _, encoder, _, processor = checkpoint
    images = [picture(90, 130, seed) for seed in range(5)]  # of one shape, so that no page is padded
    pages = encoder.encode_pages(images)
    queries = [encoder.encode_query(question).tokens for question in QUESTIONS]
    expected = [
        processor.score_retrieval([torch.from_numpy(q)], [torch.from_numpy(pages.tokens[i]) for i in range(5)])[0]
        for q in queries
    ]
    for query, theirs in zip(queries, expected, strict=True):
        np.testing.assert_allclose(maxsim.scores(query, pages.tokens), theirs.numpy(), atol=1e-4)


def test_a_score_never_depends_on_the_batch_as_a_padded_one_does():
    """`score_retrieval` pads pages with zeros, which win the max against negative similarities."""
    import torch
    from transformers import ColPaliProcessor

    rng = np.random.default_rng(4)
    depends = 0
    for _ in range(50):
        lengths = rng.integers(1, 12, 6)
        pages = [rng.standard_normal((length, 8)).astype(np.float32) for length in lengths]
        query = rng.standard_normal((5, 8)).astype(np.float32)
        by_itself = [maxsim.scores(query, MultiVectors.of([page]))[0] for page in pages]
        among = maxsim.scores(query, MultiVectors.of(pages))
        assert among.tobytes() == np.array(by_itself).tobytes()
        assert maxsim.scores(query, MultiVectors.of(pages), np.array([3, 1])).tolist() == [by_itself[3], by_itself[1]]
        single = torch.stack([_retrieval(ColPaliProcessor, query, [page])[0] for page in pages])
        depends += bool((_retrieval(ColPaliProcessor, query, pages) - single).abs().max() > 1e-3)
        np.testing.assert_allclose(single.numpy(), by_itself, atol=1e-4)
    assert depends > 40  # nearly every time: pages without neighbours agree, pages with longer ones don't


def _retrieval(processor, query, pages):
    import torch

    return processor.score_retrieval(None, [torch.from_numpy(query)], [torch.from_numpy(page) for page in pages])[0]


def test_a_page_and_a_query_never_depend_on_the_others(checkpoint):
    _, _, encoder, _, _ = checkpoint
    images = [picture(*size, seed) for seed, size in enumerate(PICTURES)]
    together, reverse = encoder.encode_pages(images), encoder.encode_pages(images[::-1])
    for i, image in enumerate(images):
        single = encoder.encode_pages([image])
        assert together.tokens[i].tobytes() == single.tokens[0].tobytes() == reverse.tokens[3 - i].tobytes()
        assert together.layouts[i] == single.layouts[0]


def test_every_vector_has_its_place(checkpoint):
    kind, _, encoder, _, processor = checkpoint
    pages = encoder.encode_pages([picture(*size) for size in PICTURES])
    for i, size in enumerate(PICTURES):
        grid = PageGrid.of(pages.layouts[i])
        assert len(grid) == len(pages.tokens[i])
        ids = processor.process_images([picture(*size)])["input_ids"][0]
        image = processor.tokenizer.convert_tokens_to_ids(processor.image_token)
        assert np.array_equal(grid.kinds != PLACELESS, (ids == image).numpy())
        if kind == "colpali":
            assert grid.shape == (4, 4)
        if kind == "colqwen2":
            _, rows, columns = processor.process_images([picture(*size)])["image_grid_thw"][0].tolist()
            assert grid.shape == (rows // 2, columns // 2)
        if kind == "colmodernvbert" and size != (64, 64):
            tall, wide = size[1] > size[0], size[0] > size[1]
            assert (grid.shape[0] >= grid.shape[1]) >= tall
            assert (grid.shape[1] >= grid.shape[0]) >= wide
            assert np.count_nonzero(grid.kinds == OVERVIEW) == 4
        cells = np.sort(grid.cells[grid.kinds == PATCH])
        assert cells.tolist() == list(range(grid.shape[0] * grid.shape[1]))


def test_what_is_drawn_at_a_place_moves_the_vector_of_that_place(tmp_path):
    """Through the real processors: a black square in a white page changes the pixels of its own patches alone."""
    from PIL import Image, ImageDraw

    for kind in KINDS:
        encoder = load(getattr(tiny, kind)(tmp_path / kind))
        processor = encoder._processor
        white = Image.new("RGB", (128, 128), "white")
        before = processor.process_images([white])
        grid = PageGrid.of(encoder.encode_pages([white]).layouts[0])
        rows, columns = grid.shape
        for cell in (0, columns - 1, (rows // 2) * columns + 1, rows * columns - 1):
            at = int(np.flatnonzero((grid.cells == cell) & (grid.kinds == PATCH))[0])
            left, top, right, bottom = (grid.boxes[at] * 128).round().tolist()
            drawn = white.copy()
            ImageDraw.Draw(drawn).rectangle([left + 6, top + 6, right - 7, bottom - 7], fill="black")
            changed = (processor.process_images([drawn])["pixel_values"] - before["pixel_values"]).abs().numpy()
            assert patch_of(kind, changed, before, processor) == nth_patch(grid, at), kind


def nth_patch(grid, at):
    return int(np.count_nonzero((grid.kinds != PLACELESS)[:at]))


def patch_of(kind, changed, inputs, processor):
    """The number, in the order of the model's own patches, of the one whose pixels changed most."""
    if kind == "colqwen2":  # rows of patches, four neighbours to a merged one
        return int(changed[0].sum(axis=1).reshape(-1, 4).sum(axis=1).argmax())
    if kind == "colpali":
        side = changed.shape[-1] // 14
        per = changed[0].sum(axis=0).reshape(side, 14, side, 14).sum(axis=(1, 3))
        return int(per.argmax())
    tiles = changed[0].sum(axis=1)[:-1]  # the last is the whole page once more
    tile = int(tiles.sum(axis=(1, 2)).argmax())
    quarter = tiles[tile].reshape(2, 32, 2, 32).sum(axis=(1, 3))
    return tile * 4 + int(quarter.argmax())


def test_prompts_are_those_of_the_processors(checkpoint):
    kind, _, encoder, _, _ = checkpoint
    more = {"colpali": "<pad>", "colqwen2": "<|endoftext|>", "colmodernvbert": "<end_of_utterance>"}[kind] * 10
    before = {"colpali": "<bos>Question: ", "colqwen2": "Query: ", "colmodernvbert": ""}[kind]
    assert encoder.spec.query_prompt == before + "{}" + more + ("" if kind == "colmodernvbert" else "\n")
    assert "Describe the image." in encoder.spec.image_prompt
    assert "<image>" not in encoder.spec.image_prompt


def test_tokens_of_a_query_are_named_with_their_places(checkpoint):
    _, _, encoder, _, _ = checkpoint
    for text in ("late wood", "", "7 × Ringe"):
        query = encoder.encode_query(text)
        assert len(query.labels) == len(query.tokens)
        covered = sorted({at for label in query.labels for at in range(label.start, label.end)})
        assert covered == list(range(len(text)))


def test_texts_are_read_as_documents_not_as_queries(checkpoint):
    """For patches beside text: no prefix of queries, no augmentation tokens, and windows where it is long."""
    kind, _, encoder, model, processor = checkpoint
    texts = ["Late wood is dense.", "", "ring " * 300]
    passages = encoder.encode_passages(texts)
    before = {"colpali": "<bos>", "colqwen2": "<|im_start|>user\n", "colmodernvbert": ""}[kind]
    for i in (0, 1):
        inputs = processor.tokenizer(before + texts[i], return_tensors="pt")
        if kind == "colpali":
            inputs["token_type_ids"] = inputs["input_ids"] * 0
        expected = own(model, inputs)[0][0].numpy()
        np.testing.assert_allclose(passages.tokens[i], expected, atol=2e-5)
    for i, text in enumerate(texts):
        assert len(encoder.label(text)) == len(passages.tokens[i]) == encoder.count_tokens(text)
    assert len(passages.tokens[2]) > 1500  # three windows share some
    alone = encoder.encode_passages([texts[0]])
    np.testing.assert_allclose(alone.tokens.tokens, passages.tokens[0], atol=1e-5)


def test_a_checkpoint_that_scores_patches_alone_keeps_them_alone(tmp_path):
    from sentence_transformers import MultiVectorEncoder

    folder = tiny.colpali(tmp_path / "model")
    saved = MultiVectorEncoder(str(folder), local_files_only=True, device="cpu")
    saved[1].keep_only_token_ids = [saved.tokenizer.convert_tokens_to_ids("<image>")]
    saved.save_pretrained(str(tmp_path / "saved"))
    pages, whole = (load(path).encode_pages([picture(50, 70)]) for path in (tmp_path / "saved", folder))
    assert (len(pages.tokens[0]), pages.layouts[0]) == (16, "4x4")
    np.testing.assert_allclose(pages.tokens[0], whole.tokens[0][:16], atol=1e-6)


def test_what_is_no_image_is_named(checkpoint):
    _, _, encoder, _, _ = checkpoint
    with pytest.raises(InputError, match="page 1: got str, expected a PIL image"):
        encoder.encode_pages([picture(30, 30), "page.png"])
    assert len(encoder.encode_pages([])) == 0


def test_colsmol_is_idefics3_with_a_projection(tmp_path):
    """transformers has no class of it: its Idefics3 and processor, and the projection by hand, are the oracle."""
    import torch
    from PIL import Image
    from safetensors.torch import load_file
    from transformers import Idefics3Model, Idefics3Processor

    folder = tiny.colsmol(tmp_path / "model")
    encoder = load(folder)
    model, processor = Idefics3Model.from_pretrained(folder).eval(), Idefics3Processor.from_pretrained(folder)
    weights = load_file(folder / "model.safetensors")

    def expected(inputs):
        with torch.inference_mode():
            hidden = model(**inputs)[0][0] @ weights["linear.weight"].T + weights["linear.bias"]
            return torch.nn.functional.normalize(hidden, dim=-1).numpy()

    prompt = "<|im_start|>User:<image>Describe the image.<end_of_utterance>\nAssistant:"
    for size in PICTURES:
        pages = encoder.encode_pages([picture(*size)])
        inputs = processor(text=[prompt], images=[[picture(*size)]], return_tensors="pt")
        np.testing.assert_allclose(pages.tokens[0], expected(inputs), atol=1e-5)
        grid = PageGrid.of(pages.layouts[0])
        image = processor.tokenizer.convert_tokens_to_ids("<image>")
        assert np.array_equal(grid.kinds != PLACELESS, (inputs["input_ids"][0] == image).numpy())
    asked = processor(text=["Query: late wood" + "<end_of_utterance>" * 10], return_tensors="pt")
    np.testing.assert_allclose(encoder.encode_query("late wood").tokens, expected(asked), atol=1e-5)
    assert encoder.spec.query_prompt == "Query: {}" + "<end_of_utterance>" * 10
    text = encoder.encode_passages(["Late wood"]).tokens
    assert len(text[0]) == len("Late wood")
    assert encoder.encode_pages([Image.new("L", (90, 60))]).tokens.dim == 16


def test_adapters_are_refused_with_what_to_do(tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "vidore/ColSmolVLM-Instruct-256M-base"}')
    with pytest.raises(ModelError, match="adapter of vidore/ColSmolVLM-Instruct-256M-base: merge them"):
        load(tmp_path)
    folder = tiny.colsmol(tmp_path / "model")
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["linear.bias"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"no linear\.weight and linear\.bias"):
        load(folder)


def test_another_processor_is_refused(tmp_path, monkeypatch):
    from latewood.encode import vision_encoder

    monkeypatch.setattr(vision_encoder, "LAYOUTS", {})
    with pytest.raises(ModelError, match="reads pages by a ColPaliProcessor; those that are known are"):
        load(tiny.colpali(tmp_path / "model"))


def test_the_processor_s_settings_decide_the_hash(tmp_path):
    folder = tiny.colqwen2(tmp_path / "model")
    before = load(folder).spec.model_hash
    settings = folder / "processor_config.json"
    settings.write_text(settings.read_text().replace("12544", "25088"))
    assert load(folder).spec.model_hash != before
