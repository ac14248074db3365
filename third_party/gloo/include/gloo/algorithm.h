// Nothing of it is named by LibTorch's header.
#pragma once
