// Made by tools/reference/schedule_values.py with torch 2.11.0: the learning rate of every step, 3 steps an epoch.
#pragma once

#include <vector>

namespace prunelab {

struct ScheduleValues {
  const char* name;
  const char* training;  // text proto
  std::vector<double> rates;
};

inline constexpr int kScheduleIterations = 3;

inline const std::vector<ScheduleValues>& ScheduleReference() {
  static const auto* values = new std::vector<ScheduleValues>{
      {"constant", "epochs: 2 sgd { learning_rate: 0.2 }", {0.2, 0.2, 0.2, 0.2, 0.2, 0.2}},
      {"step",
       "epochs: 7 sgd { learning_rate: 0.1 } schedule { step { period: 2 gamma: 0.5 } }",
       {0.1,  0.1,   0.1,   0.1,   0.1,   0.1,   0.05,  0.05,   0.05,   0.05,  0.05,
        0.05, 0.025, 0.025, 0.025, 0.025, 0.025, 0.025, 0.0125, 0.0125, 0.0125}},
      {"multi_step",
       "epochs: 6 sgd { learning_rate: 0.3 } schedule { multi_step { milestone: [1, 4] gamma: 0.1 } }",
       {0.3, 0.3, 0.3, 0.03, 0.03, 0.03, 0.03, 0.03, 0.03, 0.03, 0.03, 0.03, 0.003, 0.003, 0.003, 0.003, 0.003, 0.003}},
      {"cosine",
       "epochs: 5 sgd { learning_rate: 0.1 } schedule { cosine {} }",
       {0.1, 0.1, 0.1, 0.09045084971874738, 0.09045084971874738, 0.09045084971874738, 0.06545084971874737,
        0.06545084971874737, 0.06545084971874737, 0.03454915028125263, 0.03454915028125263, 0.03454915028125263,
        0.009549150281252633, 0.009549150281252633, 0.009549150281252633}},
      {"cosine_final",
       "epochs: 5 sgd { learning_rate: 0.1 } schedule { cosine { final_learning_rate: 0.01 } }",
       {0.1, 0.1, 0.1, 0.09140576474687263, 0.09140576474687263, 0.09140576474687263, 0.06890576474687263,
        0.06890576474687263, 0.06890576474687263, 0.04109423525312736, 0.04109423525312736, 0.04109423525312736,
        0.018594235253127367, 0.018594235253127367, 0.018594235253127367}},
      {"warmup",
       "epochs: 3 sgd { learning_rate: 0.4 } schedule { constant {} warmup_epochs: 2 }",
       {0.06666666666666667, 0.13333333333333333, 0.2, 0.2666666666666667, 0.33333333333333337, 0.4, 0.4, 0.4, 0.4}},
      {"warmup_step",
       "epochs: 5 sgd { learning_rate: 0.1 } schedule { step { period: 1 gamma: 0.5 } warmup_epochs: 3 }",
       {0.011111111111111112, 0.022222222222222223, 0.03333333333333333, 0.02222222222222222, 0.027777777777777776,
        0.03333333333333333, 0.01944444444444444, 0.022222222222222216, 0.024999999999999994, 0.012499999999999997,
        0.012499999999999997, 0.012499999999999997, 0.006249999999999999, 0.006249999999999999, 0.006249999999999999}},
      {"warmup_cosine",
       "epochs: 4 sgd { learning_rate: 0.1 } schedule { cosine {} warmup_epochs: 1 }",
       {0.03333333333333333, 0.06666666666666667, 0.1, 0.08535533905932738, 0.08535533905932738, 0.08535533905932738,
        0.05, 0.05, 0.05, 0.014644660940672627, 0.014644660940672627, 0.014644660940672627}},
  };
  return *values;
}

}  // namespace prunelab
