/* plugin.h - how libmassv_cuda.so presents itself.
 *
 * The library exports one function, massv_kernels(abi). It returns its table when it was built for that abi and finds a GPU, else
 * NULL. abi is KERNELS_ABI: it grows by one with every change of struct kernels or of a struct in kernels/kernels.h, so that an old
 * library is refused, not misread. The library is searched as dlopen(3) does: LD_LIBRARY_PATH, the run path, the system. */
#ifndef KERNELS_CUDA_PLUGIN_H
#define KERNELS_CUDA_PLUGIN_H

#include "kernels/kernels.h"

enum { KERNELS_ABI = 2 };

#define KERNELS_CUDA_LIBRARY "libmassv_cuda.so"
#define KERNELS_CUDA_ENTRY "massv_kernels"

typedef const struct kernels *kernels_entry(unsigned abi);

#endif
