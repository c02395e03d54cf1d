/* pan_and_scan.h - whether wide and tall pictures are followed by crops of themselves; flags write it auto, on, off */
#ifndef BASE_PAN_AND_SCAN_H
#define BASE_PAN_AND_SCAN_H

enum pan_and_scan { PAN_AND_SCAN_AUTO /* as the checkpoint says */, PAN_AND_SCAN_ON, PAN_AND_SCAN_OFF };

#endif
