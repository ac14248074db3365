"""Learning rates made by PyTorch's schedulers, for ml/training/schedule_test.cc.

  python3 tools/reference/schedule_values.py > ml/training/schedule_values.h
"""

import torch
from torch.optim import lr_scheduler

ITERATIONS = 3  # steps of an epoch


def optimizer(rate):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)


def rates(rate, epochs, kind, warmup_epochs=0):
    """The rate of every step; `kind` makes the scheduler that is stepped once an epoch."""
    sgd = optimizer(rate)
    by_epoch = kind(sgd) if kind else None
    by_step = None
    if warmup_epochs:
        steps = warmup_epochs * ITERATIONS
        by_step = lr_scheduler.LinearLR(sgd, start_factor=1 / steps, end_factor=1, total_iters=steps - 1)
    result = []
    for _ in range(epochs):
        for _ in range(ITERATIONS):
            result.append(sgd.param_groups[0]["lr"])
            sgd.step()
            if by_step:
                by_step.step()
        if by_epoch:
            by_epoch.step()
    return result


CASES = [
    ("constant", "epochs: 2 sgd { learning_rate: 0.2 }", rates(0.2, 2, None)),
    ("step", "epochs: 7 sgd { learning_rate: 0.1 } schedule { step { period: 2 gamma: 0.5 } }",
     rates(0.1, 7, lambda o: lr_scheduler.StepLR(o, 2, 0.5))),
    ("multi_step", "epochs: 6 sgd { learning_rate: 0.3 } schedule { multi_step { milestone: [1, 4] gamma: 0.1 } }",
     rates(0.3, 6, lambda o: lr_scheduler.MultiStepLR(o, [1, 4], 0.1))),
    ("cosine", "epochs: 5 sgd { learning_rate: 0.1 } schedule { cosine {} }",
     rates(0.1, 5, lambda o: lr_scheduler.CosineAnnealingLR(o, 5))),
    ("cosine_final", "epochs: 5 sgd { learning_rate: 0.1 } schedule { cosine { final_learning_rate: 0.01 } }",
     rates(0.1, 5, lambda o: lr_scheduler.CosineAnnealingLR(o, 5, 0.01))),
    ("warmup", "epochs: 3 sgd { learning_rate: 0.4 } schedule { constant {} warmup_epochs: 2 }", rates(0.4, 3, None, 2)),
    ("warmup_step",
     "epochs: 5 sgd { learning_rate: 0.1 } schedule { step { period: 1 gamma: 0.5 } warmup_epochs: 3 }",
     rates(0.1, 5, lambda o: lr_scheduler.StepLR(o, 1, 0.5), 3)),
    ("warmup_cosine", "epochs: 4 sgd { learning_rate: 0.1 } schedule { cosine {} warmup_epochs: 1 }",
     rates(0.1, 4, lambda o: lr_scheduler.CosineAnnealingLR(o, 4), 1)),
]

print(f"""// Made by tools/reference/schedule_values.py with torch {torch.__version__.split('+')[0]}: the learning rate of every step, {ITERATIONS} steps an epoch.
#pragma once

#include <vector>

namespace prunelab {{

struct ScheduleValues {{
  const char* name;
  const char* training;  // text proto
  std::vector<double> rates;
}};

inline constexpr int kScheduleIterations = {ITERATIONS};

inline const std::vector<ScheduleValues>& ScheduleReference() {{
  static const auto* values = new std::vector<ScheduleValues>{{""")
for name, training, values in CASES:
    print(f'      {{"{name}", "{training}", {{{", ".join(map(repr, values))}}}}},')
print("""  };
  return *values;
}

}  // namespace prunelab""")
