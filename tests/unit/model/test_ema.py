import pytest
import torch
from torch import nn

from kinema_model.ema import Ema
from kinema_model.errors import ShapeError


def _weights(model: nn.Linear, value: float) -> nn.Linear:
    nn.init.constant_(model.weight, value)
    return model


def test_average_follows_its_recurrence() -> None:
    model = _weights(nn.Linear(2, 2, bias=False), 1.0)
    ema = Ema(model, 0.9)
    expected = 1.0
    for update in range(1, 200):
        decay = min(0.9, update / (10 + update))
        expected = decay * expected + (1 - decay) * update
        ema.update(_weights(model, float(update)))
    assert ema.shadow["weight"].mean().item() == pytest.approx(expected, rel=1e-5)


def test_average_is_float32_whatever_the_model_is() -> None:
    model = _weights(nn.Linear(2, 2, bias=False), 1.0).bfloat16()
    ema = Ema(model, 0.999)
    ema.updates = 10**6
    ema.update(_weights(model, 2.0))
    assert ema.shadow["weight"].dtype == torch.float32
    assert ema.shadow["weight"].mean().item() == pytest.approx(1.001, abs=1e-6)


def test_state_goes_on_where_it_stopped() -> None:
    model = _weights(nn.Linear(2, 2), 1.0)
    ema, other = Ema(model, 0.9), Ema(nn.Linear(2, 2), 0.9)
    ema.update(_weights(model, 5.0))
    other.load_state_dict(ema.state_dict())
    for average in (ema, other):
        average.update(_weights(model, 7.0))
    assert torch.equal(ema.shadow["weight"], other.shadow["weight"])
    other.copy_to(model)
    assert torch.equal(model.weight, ema.shadow["weight"])
    with pytest.raises(ShapeError, match="another model"):
        Ema(nn.Linear(2, 2, bias=False), 0.9).load_state_dict(ema.state_dict())
