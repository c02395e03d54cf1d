/* plugin.c - finds the CUDA backend at run time, so that no program links CUDA */
#include "kernels/cuda/plugin.h"

#include <dlfcn.h>
#include <string.h>

const struct kernels *kernels_cuda(void)
{
    void *library = dlopen(KERNELS_CUDA_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    void *symbol = library ? dlsym(library, KERNELS_CUDA_ENTRY) : NULL;
    const struct kernels *table = NULL;
    if (symbol) {
        kernels_entry *entry; /* ISO C has no cast from an object pointer to a function's */
        memcpy(&entry, &symbol, sizeof entry);
        table = entry(KERNELS_ABI);
    }
    if (library && !table)
        dlclose(library);
    return table; /* the library stays: its table is in use until the process ends */
}
