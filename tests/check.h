/* check.h - cmocka with the headers that it wants before it, and without its macro `fail`, which is the name of ours */
#ifndef TESTS_CHECK_H
#define TESTS_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#undef fail

/* cmocka's own calls that macro. */
#undef fail_msg
#define fail_msg(...)                                                                                                              \
    do {                                                                                                                           \
        print_error(__VA_ARGS__);                                                                                                  \
        print_error("\n");                                                                                                         \
        _fail(__FILE__, __LINE__);                                                                                                 \
    } while (0)

#endif
