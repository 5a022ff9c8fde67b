"""Makes the safetensors files of this folder with PyTorch: `python make.py`, with torch and safetensors installed.

layers.safetensors   the state of batch norms of 5 channels that saw 3 batches, saved in several types, and of
                     some that lack a part
network.safetensors  the state of a small network, batch norm behind and before convolutions and linear layers
answers.safetensors  what PyTorch computes with them
"""

import pathlib

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

HERE = pathlib.Path(__file__).parent
torch.manual_seed(1)


def used(norm, *shape):
    """A batch norm that is no longer as constructed."""
    for parameter in norm.parameters():
        nn.init.normal_(parameter, 1.0, 0.5)
    for _ in range(3):
        norm(1.5 + 2.0 * torch.randn(*shape))
    return norm


def batch_norm(**options):
    return used(nn.BatchNorm1d(5, **options), 16, 5)


layers = nn.ModuleDict(
    {
        "f32": batch_norm(),
        "f16": batch_norm().half(),
        "bf16": batch_norm().bfloat16(),
        "f64": batch_norm().double(),
        "no_affine": batch_norm(affine=False),
        "no_bias": batch_norm(bias=False),
        "no_running": batch_norm(track_running_stats=False),
    }
)
save_file(layers.state_dict(), HERE / "layers.safetensors")
# As f32, by PyTorch's own conversion.
answers = {f"layers.{name}": value.float().clone() for name, value in layers.state_dict().items()}

norm = layers["f32"]
x = 0.5 + torch.randn(4, 5, 3)
answers["x"] = x
answers["eval.y"] = norm.eval()(x)
answers["train.y"] = norm.train()(x)
answers |= {f"train.{name}": value.clone() for name, value in norm.state_dict().items()}


class Network(nn.Module):
    """Every way of folding: behind and before, a convolution and a linear layer, with and without a bias."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False)
        self.bn1 = used(nn.BatchNorm2d(4), 8, 4, 5, 5)
        self.bn2 = used(nn.BatchNorm2d(4), 8, 4, 5, 5)
        self.conv2 = nn.Conv2d(4, 6, (3, 2), groups=2)
        self.fc3 = nn.Linear(6, 5)
        self.bn3 = used(nn.BatchNorm1d(5), 16, 5)
        self.bn4 = used(nn.BatchNorm1d(5), 16, 5)
        self.fc4 = nn.Linear(5, 3, bias=False)

    def forward(self, x):
        x = self.bn1(self.conv1(x)).relu()
        x = self.conv2(self.bn2(x)).relu()
        x = self.bn3(self.fc3(x.mean((2, 3)))).relu()
        return self.fc4(self.bn4(x))


network = Network()
save_file(network.state_dict(), HERE / "network.safetensors", metadata={"format": "pt", "made by": "PyTorch"})
network = network.double().eval()
image = torch.randn(2, 3, 9, 9)
answers["network.x"] = image
answers["network.y"] = network(image.double())
fused = fuse_conv_bn_eval(network.conv1, network.bn1)
answers |= {"fused.weight": fused.weight, "fused.bias": fused.bias}

save_file({name: value.detach().contiguous() for name, value in answers.items()}, HERE / "answers.safetensors")
