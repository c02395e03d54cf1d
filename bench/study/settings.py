"""settings.py - how much of everything the study does: the whole one, and a quick one that shows in minutes that all of it runs."""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Settings:
    seed: int            # of all data and answers
    pictures: int        # of the training data
    questions: int       # about each of them
    text: int            # training questions without a picture
    held_out: int        # questions, eleven tasks
    unfamiliar: int      # questions of each unlike set
    draft_tokens: str    # draft lengths of the baseline's and the drafters' comparison
    speed_prompts: int   # asked one after the other
    temperatures: str    # of the target's answers


WHOLE = Settings(seed=7, pictures=1800, questions=2, text=400, held_out=154, unfamiliar=66, draft_tokens="1-10", speed_prompts=55,
                 temperatures="0,0.6,1")
QUICK = dataclasses.replace(WHOLE, pictures=60, text=20, held_out=33, unfamiliar=12, draft_tokens="5,10", speed_prompts=11)
