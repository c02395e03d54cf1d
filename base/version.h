/* version.h - what this build calls itself; coordinator and workers of one service must agree */
#ifndef BASE_VERSION_H
#define BASE_VERSION_H

#define MASSV_VERSION "0.1.0"

#endif
