// The test part of "Optical Recognition of Handwritten Digits" (E. Alpaydin, C. Kaynak, 1998; UCI Machine Learning
// Repository, CC BY 4.0) as scikit-learn 1.5.2 ships it (BSD-3-Clause): digits of 13 people, 8x8 pixels of 0 to 16.
#pragma once

namespace prunelab {

constexpr int kDigitsRecords = 1797;
constexpr int kDigitsRecordBytes = 65;  // 64 pixels, row by row, then the label
extern const unsigned char kDigitsData[kDigitsRecords * kDigitsRecordBytes];

}  // namespace prunelab
