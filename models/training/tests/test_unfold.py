"""An exported network gets its batch normalisation back and does what it did."""

from pathlib import Path

import numpy as np
import torch

from gaze_models.common import export_onnx, onnx_session
from gaze_models.eyes import EyeTask
from gaze_models.eyes_network import EyeNetwork
from gaze_models.landmarks import CONTRACT, LandmarkNetwork
from gaze_models.unfold import unfold


def test_an_unfolded_network_answers_as_the_exported_one_in_training_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    faces = torch.rand(48, 1, 96, 96)
    network = LandmarkNetwork(16).train()
    with torch.no_grad():
        for _ in range(40):
            network(faces)
    model = export_onnx(network, CONTRACT, tmp_path / "landmarks.onnx")
    again = LandmarkNetwork(16)
    unfold(again, model, [(faces,)])
    session = onnx_session(tmp_path / "landmarks.onnx")
    expected = np.concatenate([session.run(None, {"face": f[None].numpy()})[0] for f in faces])
    with torch.no_grad():
        assert np.abs(again.eval()(faces)[0].numpy() - expected).max() < 1e-3
        assert np.abs(again.train()(faces)[0].numpy() - expected).max() < 1e-2


def test_eyes_of_a_wider_network_answer_as_the_narrow_one_did(tmp_path: Path) -> None:
    torch.manual_seed(0)
    small = EyeNetwork(hidden=32).eval()
    contract = EyeTask({"prepare": {"folder": "."}, "thresholds": {}}, None).contract
    model = export_onnx(small, contract, tmp_path / "eyes.onnx")
    wide = EyeNetwork(hidden=48)
    inputs = torch.rand(8, 1, 48, 64), 0.1 * torch.randn(4, 2), torch.ones(4, 2)
    unfold(wide, model, [inputs])
    with torch.no_grad():
        for expected, found in zip(small(*inputs), wide.eval()(*inputs), strict=True):
            assert torch.allclose(expected, found, atol=1e-4)
