"""settings.py - how much of everything the study does: the whole one, and a quick one that shows in a minute or two that all of it runs."""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Settings:
    seed: int            # of all data, answers and trainings
    pictures: int        # of the training data
    questions: int       # about each of them
    text: int            # training questions without a picture
    varied: int          # training questions about pictures unlike the scenes
    held_out: int        # questions, eleven tasks
    unfamiliar: int      # questions of each unlike set
    draft_tokens: str    # draft lengths of the text-only drafter and MASSV
    speed_prompts: int   # asked one after the other
    temperatures: str    # of the target's answers
    epochs1: int         # of phase 1 over the captions
    epochs2: int         # of phase 2 over the answers
    ablations: tuple     # of training.ABLATIONS
    adaptations: tuple   # of training.ADAPTATIONS


WHOLE = Settings(seed=7, pictures=2700, questions=2, text=2000, varied=900, held_out=154, unfamiliar=66, draft_tokens="1-10", speed_prompts=55,
                 temperatures="0,0.6,1", epochs1=6, epochs2=6,
                 ablations=("no-sdvit", "one-temperature", "pictures-only", "linear", "resampler", "kl", "tvd"), adaptations=("own", "projector"))
QUICK = dataclasses.replace(WHOLE, pictures=400, text=150, varied=120, held_out=44, unfamiliar=8, draft_tokens="5,10", speed_prompts=11, epochs1=4, epochs2=4,
                            ablations=("no-sdvit", "resampler", "kl"), adaptations=("projector",))
