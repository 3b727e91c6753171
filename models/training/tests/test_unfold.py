"""An exported network gets its batch normalisation back and does what it did."""

from pathlib import Path

import numpy as np
import torch

from gaze_models.common import export_onnx, onnx_session
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
