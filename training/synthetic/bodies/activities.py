"""Tables of activities that are rare in motion capture: sitting, kneeling, lying, manual work.

`pose_rules.py` makes poses from these tables; `postures.py` says what their numbers mean.
"""

from __future__ import annotations

from training.synthetic.bodies.postures import Arm, Arms, Leg, Posture

__all__ = ['ARMS', 'POSTURES']

HANGING = Arm((0.17, -0.96, 0.04), (0.05, 0.02, 0.06), (0.3, 0, -1))
ON_FLOOR = Arm((0.10, -0.95, 0.05), (0.06, 0, 0.08), (0.5, 0, -1), 85, 75)
ARMS = {
    'hang': Arms(HANGING),
    'box': Arms(Arm((-0.06, -0.50, 0.58), (0.08, 0.09, 0.08)), alike=0.95, is_level=True),
    'overhead': Arms(
        Arm((-0.02, 0.80, 0.14), (0.07, 0.08, 0.09), (1, 0, 0.5), 20, 40),
        alike=0.95,
        is_level=True,
    ),
    'on shoulder': Arms(
        Arm((0.16, 0.34, 0.24), (0.04, 0.05, 0.05), (0.6, -0.3, 1), 20, 20), HANGING, 0
    ),
    'bag': Arms(
        Arm((0.16, -0.98, 0.02), (0.02, 0.01, 0.04), (0.3, 0, -1)),
        Arm((0.22, -0.88, 0.16), (0.10, 0.06, 0.14), (0.5, 0, -1)),
        0,
        True,
    ),
    'two bags': Arms(
        Arm((0.16, -0.98, 0.02), (0.02, 0.01, 0.03), (0.3, 0, -1)), alike=0.8, is_level=True
    ),
    'bench': Arms(
        Arm((-0.08, -0.52, 0.62), (0.10, 0.10, 0.10), pronate=45), alike=0.5, is_level=True
    ),
    'tool': Arms(
        Arm((-0.16, -0.48, 0.58), (0.07, 0.08, 0.08), pronate=30, wrist=15),
        Arm((-0.05, -0.28, 0.62), (0.10, 0.12, 0.10), pronate=40),
        0.3,
        True,
    ),
    'low work': Arms(
        Arm((0.02, -0.44, 0.84), (0.08, 0.10, 0.05), pronate=50), alike=0.6, is_level=True
    ),
    'type': Arms(
        Arm((-0.10, -0.46, 0.58), (0.04, 0.06, 0.07), pronate=70, wrist=10),
        alike=0.9,
        is_level=True,
    ),
    'crossed': Arms(
        Arm((-0.42, -0.40, 0.54), (0.04, 0.04, 0.03), (0.8, -1, 0.2), 40),
        Arm((-0.40, -0.50, 0.38), (0.04, 0.04, 0.03), (0.9, -1, 0.1), 20),
        0.5,
    ),
    'one at face': Arms(
        Arm((-0.22, 0.06, 0.50), (0.04, 0.07, 0.05), (0.6, -1, 0.3), -35), HANGING, 0
    ),
    'two at face': Arms(
        Arm((-0.12, 0.12, 0.52), (0.05, 0.08, 0.05), (0.7, -1, 0.3), -30), alike=0.8
    ),
    'at hair': Arms(Arm((0.06, 0.50, 0.20), (0.06, 0.06, 0.06), (1, -0.1, 0.5), -20), HANGING, 0),
    'device': Arms(Arm((-0.15, -0.30, 0.54), (0.05, 0.09, 0.07), pronate=-25), alike=0.95),
    'tablet': Arms(
        Arm((-0.16, -0.36, 0.50), (0.06, 0.08, 0.06), pronate=-60),
        Arm((-0.22, -0.24, 0.56), (0.06, 0.08, 0.06), pronate=45),
        0.5,
    ),
    'push': Arms(
        Arm((0.0, -0.22, 0.84), (0.07, 0.14, 0.08), (0.7, -1, -0.2), 70, 45),
        alike=0.95,
        is_level=True,
    ),
    'pull': Arms(
        Arm((-0.05, -0.35, 0.76), (0.06, 0.12, 0.10), (0.6, -1, -0.3), 60),
        alike=0.95,
        is_level=True,
    ),
    'point': Arms(
        Arm((0.25, 0.08, 0.92), (0.40, 0.28, 0.20), (0.5, -1, -0.2), 50), HANGING, 0, True
    ),
    'pick up': Arms(
        Arm((0.06, -0.88, 0.30), (0.10, 0.08, 0.12), (0.7, 0, -0.8), 30), alike=0.7, is_level=True
    ),
    'pick up with one': Arms(
        Arm((-0.02, -0.90, 0.32), (0.12, 0.06, 0.12), (0.7, 0, -0.8), 30),
        Arm((0.0, -0.60, 0.45), (0.10, 0.12, 0.10)),
        0,
        True,
    ),
    'lap': Arms(
        Arm((-0.04, -0.54, 0.50), (0.06, 0.04, 0.07), (1, -0.5, -0.6), 50),
        alike=0.6,
        is_level=True,
    ),
    'armrests': Arms(
        Arm((0.22, -0.58, 0.42), (0.05, 0.05, 0.06), (0.8, -0.4, -1), 60), alike=0.8, is_level=True
    ),
    'hug knees': Arms(
        Arm((-0.06, -0.32, 0.80), (0.05, 0.06, 0.05), (1, -0.6, 0), 30), alike=0.9, is_level=True
    ),
    'on knees': Arms(
        Arm((0.18, -0.62, 0.62), (0.08, 0.07, 0.06), (0.9, -0.2, -0.5), 60),
        alike=0.7,
        is_level=True,
    ),
    'floor': Arms(ON_FLOOR, alike=0.4, is_level=True, on_floor=True),
    'floor behind': Arms(
        Arm((0.34, -0.85, -0.42), (0.07, 0, 0.07), (0.4, 0, -1), -75, 62),
        alike=0.7,
        is_level=True,
        on_floor=True,
    ),
    'along': Arms(Arm((0.26, -0.94, 0.03), (0.07, 0.02, 0.03), (0.6, 0, -1), 40)),
    'on belly': Arms(Arm((-0.20, -0.58, 0.36), (0.08, 0.08, 0.04), (1, -0.5, 0.1), 40)),
    'one on belly': Arms(
        Arm((-0.20, -0.58, 0.36), (0.08, 0.08, 0.04), (1, -0.5, 0.1), 40),
        Arm((0.55, -0.75, 0.02), (0.2, 0.15, 0.03), (0.5, -0.5, -1), 30),
    ),
    'behind head': Arms(Arm((0.05, 0.50, 0.02), (0.05, 0.05, 0.03), (1, 0.2, 0.15))),
    'beside head': Arms(
        Arm((0.50, 0.50, 0.06), (0.12, 0.12, 0.03), (1, -0.6, -0.1), 60), alike=0.3
    ),
    'under chin': Arms(Arm((-0.02, 0.42, 0.22), (0.05, 0.06, 0.02), (1, 0.2, 0.1), 60), alike=0.5),
    'side': Arms(
        Arm((-0.15, -0.05, 0.72), (0.08, 0.15, 0.12), (0.2, -1, 0.2), 20),
        Arm((-0.05, -0.55, 0.52), (0.10, 0.15, 0.10), (0.8, -0.6, -0.3), 40),
        0,
    ),
    'side along': Arms(
        Arm((-0.10, 0.40, 0.42), (0.05, 0.10, 0.08), (0, 0.3, 1), 20),
        Arm((0.12, -0.93, 0.12), (0.03, 0.03, 0.06), (0.6, 0, -1), 20),
        0,
    ),
}
STAND = Leg((-3, 6), (-7, 2), (0, 14), (2, 10))
STANDING = ((STAND, None),)
STEPPING = (*STANDING, (Leg((8, 26), (-6, 14)), Leg((-14, -2), (-45, -14), sole=(-5, 25))))
STRIDING = ((Leg((15, 42), (-8, 10)), Leg((-22, -6), (-48, -18), sole=(-15, 10))),)
CHAIR, LOW_CHAIR = Leg((82, 94), (-18, 14), (0, 20)), Leg((98, 112), (-8, 25), (0, 18))
STOOL = Leg((50, 72), (-22, 2), (4, 24))
KNEELING = Leg((-4, 10), (-96, -90), (0, 10), (0, 6), sole=(58, 72))
TOES_TUCKED = Leg((-4, 10), (-110, -105), (0, 10), (0, 6), sole=(-12, 2))
ON_HEELS = Leg((68, 76), (-94, -88), (2, 18), (0, 2), sole=(60, 72))
LYING = Leg((-3, 6), (-8, 2), (0, 14), (0, 9), sole=(10, 40))
KNEE_UP = Leg((42, 62), (-62, -42), (0, 10), sole=(28, 40))
SEATED = {
    'lap': 0.35,
    'armrests': 0.15,
    'hang': 0.05,
    'device': 0.12,
    'one at face': 0.06,
    'crossed': 0.06,
    'on knees': 0.08,
    'tablet': 0.05,
    'point': 0.04,
    'box': 0.04,
}
KNEELING_ARMS = {
    'bench': 0.3,
    'tool': 0.25,
    'hang': 0.15,
    'pick up': 0.15,
    'device': 0.08,
    'lap': 0.07,
}
POSTURES = {
    'carry': Posture(
        0.10,
        STEPPING,
        {'box': 0.38, 'overhead': 0.12, 'on shoulder': 0.10, 'bag': 0.26, 'two bags': 0.14},
        (-7, 5),
        (-8, 10),
        sideways=(6, 6),
    ),
    'bench': Posture(
        0.07, STANDING, {'bench': 0.5, 'tool': 0.35, 'type': 0.15}, (2, 15), (6, 28), (12, 40)
    ),
    'arms crossed': Posture(0.035, STANDING, {'crossed': 1}),
    'hands at face': Posture(
        0.05,
        STANDING,
        {'one at face': 0.5, 'two at face': 0.25, 'at hair': 0.25},
        head_pitch=(-5, 25),
    ),
    'device': Posture(0.06, STEPPING, {'device': 0.6, 'tablet': 0.4}, head_pitch=(15, 40)),
    'push': Posture(0.05, (*STRIDING, *STEPPING), {'push': 1}, (4, 26), (-5, 12), (-20, 5)),
    'pull': Posture(0.02, STRIDING, {'pull': 1}, (-18, 2), (-5, 15)),
    'point': Posture(0.05, STEPPING, {'point': 1}),
    'bend to floor': Posture(
        0.05,
        ((Leg((-22, 2), (-26, -4)), None), (Leg((8, 40), (-25, -5)), None)),
        {'pick up': 0.6, 'pick up with one': 0.4},
        (50, 85),
        (25, 60),
        (-25, 15),
    ),
    'sit on chair': Posture(
        0.06, ((CHAIR, None), (CHAIR, Leg((82, 90), (10, 45), (0, 15)))), SEATED, (-14, 8), (0, 28)
    ),
    'sit low': Posture(0.03, ((LOW_CHAIR, None),), SEATED, (-28, -4), (8, 35)),
    'sit high': Posture(
        0.025, ((STOOL, None), (STOOL, Leg((70, 88), (-25, 0), (4, 24)))), SEATED, (-8, 8), (0, 22)
    ),
    'sit at table': Posture(
        0.04,
        ((CHAIR, None),),
        {'type': 0.6, 'bench': 0.25, 'tool': 0.15},
        (-8, 12),
        (5, 30),
        (8, 35),
    ),
    'sit, legs crossed': Posture(
        0.04,
        (
            (
                Leg((80, 87), (-10, 8), (2, 10)),
                Leg((104, 112), (10, 30), (-20, -12), sole=(-10, 20)),
            ),
            (
                Leg((80, 88), (-10, 8), (2, 10)),
                Leg((100, 107), (5, 15), (18, 28), twist=(58, 72), sole=(-10, 15)),
            ),
        ),
        SEATED,
        (-20, 2),
        (0, 28),
    ),
    'sit on floor, legs crossed': Posture(
        0.025,
        (
            (
                Leg((93, 101), (-35, -24), (46, 56), twist=(66, 76), sole=(10, 35)),
                Leg((91, 99), (-16, -6), (46, 56), twist=(70, 80), sole=(10, 35)),
            ),
        ),
        {'on knees': 0.4, 'lap': 0.25, 'device': 0.15, 'floor behind': 0.1, 'one at face': 0.1},
        (-18, 4),
        (5, 35),
    ),
    'sit on floor, legs stretched': Posture(
        0.025,
        (
            (Leg((84, 91), (80, 90), (0, 20), sole=(-5, 30)), None),
            (Leg((84, 91), (80, 90), (0, 20), sole=(-5, 30)), Leg((118, 132), (40, 52), (0, 12))),
        ),
        {'floor behind': 0.45, 'lap': 0.3, 'hang': 0.05, 'device': 0.2},
        (-24, -2),
        (0, 28),
    ),
    'sit on floor, knees up': Posture(
        0.02,
        ((Leg((120, 132), (40, 54), (0, 14)), None),),
        {'hug knees': 0.6, 'floor behind': 0.4},
        (-22, -6),
        (10, 38),
    ),
    'crouch': Posture(
        0.03,
        (
            (Leg((94, 116), (-40, -24), (8, 28)), None),
            (
                Leg((94, 112), (-38, -24), (8, 22)),
                Leg((70, 84), (-72, -60), (2, 16), sole=(-15, 5)),
            ),
        ),
        {'low work': 0.4, 'hug knees': 0.25, 'pick up': 0.2, 'on knees': 0.15},
        (12, 32),
        (5, 28),
        (-10, 20),
    ),
    'kneel on one knee': Posture(
        0.03,
        (
            (Leg((92, 100), (-8, 8), (0, 16)), KNEELING),
            (Leg((92, 100), (-8, 8), (0, 16)), TOES_TUCKED),
        ),
        {**KNEELING_ARMS, 'point': 0.1},
        (-4, 24),
        (0, 28),
        (-8, 28),
    ),
    'kneel': Posture(
        0.025, ((KNEELING, None), (TOES_TUCKED, None)), KNEELING_ARMS, (-8, 24), (-4, 28), (-5, 30)
    ),
    'sit on heels': Posture(
        0.025,
        ((ON_HEELS, None),),
        {'lap': 0.5, 'bench': 0.3, 'device': 0.2},
        (-6, 18),
        (0, 25),
        (-5, 25),
    ),
    'on all fours': Posture(
        0.03,
        (
            (
                Leg((-6, 12), (-96, -90), (-2, 6), (0, 6), sole=(58, 72)),
                Leg((-10, 14), (-96, -90), (-2, 6), (0, 6), sole=(58, 72)),
            ),
        ),
        {'floor': 1},
        (76, 90),
        (-10, 10),
        (-45, 5),
    ),
    'lie on back': Posture(
        0.03,
        ((LYING, None), (KNEE_UP, None), (LYING, KNEE_UP)),
        {
            'along': 0.3,
            'on belly': 0.2,
            'one on belly': 0.2,
            'behind head': 0.1,
            'beside head': 0.2,
        },
        (-3, 3),
        (-4, 6),
        (-5, 15),
        'back',
    ),
    'lie on side': Posture(
        0.03,
        (
            (
                Leg((5, 60), (-60, -20), (-2, 2), (-4, 0), (-3, 3), (0, 30)),
                Leg((20, 85), (-40, 0), (-2, 2), (0, 5), (-3, 3), (0, 30)),
            ),
            (Leg((0, 15), (-20, 0), (-2, 2), (-4, 0), (-3, 3), (10, 40)), None),
        ),
        {'side': 0.6, 'side along': 0.4},
        (-3, 6),
        (0, 30),
        (-5, 20),
        'side',
    ),
    'lie on front': Posture(
        0.025,
        (
            (Leg((-5, 1), (-9, -3), (0, 14), (0, 12), sole=(40, 60)), None),
            (
                Leg((-5, 1), (-9, -3), (0, 14), (0, 12), sole=(40, 60)),
                Leg((-5, 5), (-80, -45), (0, 5), (35, 55), (70, 85), (20, 50)),
            ),
        ),
        {'under chin': 0.3, 'beside head': 0.45, 'along': 0.25},
        (-3, 3),
        (-12, 2),
        (-25, 0),
        'front',
    ),
}
"""The shares add up to about one; `pose_rules.py` defines how many people take these postures."""
