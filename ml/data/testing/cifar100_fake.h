// Files in the form of CIFAR-100's binary version, for tests: the right sizes and class counts, made-up pixels.
#pragma once

#include <cstdint>
#include <string>

namespace prunelab {

// The fine label of record `record` (0 to 49,999 of train.bin, to 9,999 of test.bin); the coarse one is a fifth of it.
int FakeCifar100Label(bool test, int record);
// Pixel 0 to 3,071: red, green, blue planes of 32 rows of 32.
uint8_t FakeCifar100Pixel(bool test, int record, int pixel);

// Writes train.bin (153,700,000 bytes) and test.bin to `folder`, which is created if it is missing.
void WriteFakeCifar100(const std::string& folder);

}  // namespace prunelab
