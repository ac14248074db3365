// Written by tools/reference/regularizers_values.py (numpy 2.4.6, torch 2.11.0); do not edit.
#pragma once

namespace prunelab::reference {

// Of FormulaLayers (example_layers.h), "a" to "d": the penalty, and of its gradient in each layer the projection on
// FormulaDirection and the norm.
struct PenaltyValues {
  double value;
  double projection[4];
  double norm[4];
};

inline constexpr PenaltyValues kCov = {1.2857537024926788,
                                       {0.7078910712788395, -0.2150965273261351, -0.662083199932507, 0.0},
                                       {0.9658690204431458, 0.8712949497922025, 0.9197445752421058, 0.0}};
inline constexpr PenaltyValues kCovMasked = {1.2018731570025487,
                                             {0.05240844315425963, 0.26032098790268615, -0.662083199932507, 0.0},
                                             {1.0588182337837324, 1.2208317361784309, 0.9197445752421058, 0.0}};
inline constexpr PenaltyValues kCovWideDelta = {0.7969495788564971,
                                                {0.2790985404993389, -0.08167120767857056, -0.6233134538657492, 0.0},
                                                {0.6417435493964185, 0.4844549476842957, 0.8712699548827613, 0.0}};
inline constexpr PenaltyValues kCovWideDeltaMasked = {
    0.7234056583294737,
    {0.05816748742624894, 0.02668975074304354, -0.6233134538657492, 0.0},
    {0.9516464711442106, 0.7681908174957109, 0.8712699548827613, 0.0}};
inline constexpr PenaltyValues kSquaredCorrelation = {
    0.8225669017622335,
    {0.23757893963830423, -0.06890415534601349, -0.8661238635921211, 0.0},
    {0.8235251514171829, 0.7253871683185924, 1.2430805737199981, 0.0}};
inline constexpr PenaltyValues kSquaredCorrelationMasked = {
    0.715123882855411,
    {0.08573589315623942, 0.0025930764937385498, -0.8661238635921211, 0.0},
    {1.3849590529699247, 0.8057419115133704, 1.2430805737199981, 0.0}};
inline constexpr PenaltyValues kSquaredCorrelationPointwise = {
    1.1995194622118324,
    {0.23757893963830423, -0.06890415534601349, -0.8661238635921211, 1.480847132784141},
    {0.8235251514171829, 0.7253871683185924, 1.2430805737199981, 2.0602723555007594}};
inline constexpr PenaltyValues kSquaredCorrelationPointwiseMasked = {
    1.0920764433050096,
    {0.08573589315623942, 0.0025930764937385498, -0.8661238635921211, 1.480847132784141},
    {1.3849590529699247, 0.8057419115133704, 1.2430805737199981, 2.0602723555007594}};
inline constexpr PenaltyValues kKernelCovSum = {1.4627100964302882,
                                                {0.2835969029296225, 0.40256234634940147, 0.5650523032452818, 0.0},
                                                {1.0935699675047321, 1.4973362815751645, 1.6366250665241824, 0.0}};
inline constexpr PenaltyValues kKernelCovSumMasked = {
    0.9837424118636001,
    {0.2118064502177721, -0.2495567622775619, 0.5650523032452818, 0.0},
    {0.983173977136021, 0.8346054860088027, 1.6366250665241824, 0.0}};
inline constexpr PenaltyValues kKernelCovMean = {0.030473127008964335,
                                                 {0.0059082688110338, 0.008386715548945852, 0.011771922984276704, 0.0},
                                                 {0.022782707656348582, 0.03119450586614926, 0.03409635555258714, 0.0}};
inline constexpr PenaltyValues kKernelCovMeanMasked = {
    0.023422438377704764,
    {0.005043010719470762, -0.0059418276732752795, 0.013453626267744805, 0.0},
    {0.02340890421752431, 0.019871559190685777, 0.03896726348867101, 0.0}};
inline constexpr PenaltyValues kPaperZero = {0.4540642740342977, {0.0, 0.0, 0.0, 0.0}, {0.0, 0.0, 0.0, 0.0}};
inline constexpr PenaltyValues kPaperZeroMasked = {0.4540642740342977, {0.0, 0.0, 0.0, 0.0}, {0.0, 0.0, 0.0, 0.0}};

// mean_abs_rho of the layers with kernels larger than 1x1.
inline constexpr double kMeanAbsRho = 0.4376940507231695;
inline constexpr double kMeanAbsRhoMasked = 0.40933175690630724;

}  // namespace prunelab::reference
