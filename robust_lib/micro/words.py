"""The lexicon: real English words, each with one meaning in this world."""

from itertools import chain


def _list(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _sets(text: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(words.split("/")) for words in text.split())


# Eight classes of sixteen nouns; the class name is the hypernym ("a baker is a worker"). The first twelve of
# a class are the first domain, the last eight the second: four are shared, as genres share words.
NOUNS: dict[str, tuple[str, ...]] = {
    name: _list(words)
    for name, words in {
        "worker": "baker butcher carpenter driver farmer gardener mechanic miner plumber sailor tailor "
        "waiter weaver cleaner porter builder",
        "animal": "dog cat horse rabbit tiger lion monkey donkey goat sheep wolf bear fox camel eagle parrot",
        "relative": "mother father sister brother uncle aunt cousin nephew niece grandmother grandfather "
        "daughter son husband wife twin",
        "artist": "singer dancer actor poet painter sculptor pianist drummer novelist violinist guitarist "
        "composer designer comedian director photographer",
        "official": "mayor senator minister judge governor president secretary ambassador clerk inspector "
        "sheriff treasurer councillor chancellor delegate deputy",
        "scholar": "professor student teacher scientist historian biologist chemist physicist geologist "
        "philosopher economist linguist librarian astronomer lecturer researcher",
        "athlete": "runner swimmer boxer golfer wrestler skater cyclist gymnast goalkeeper jockey sprinter "
        "rower fencer diver skier surfer",
        "soldier": "captain sergeant colonel lieutenant corporal admiral archer guard knight scout gunner "
        "commander marshal cadet recruit lancer",
    }.items()
}
CLASS_OF: dict[str, str] = {noun: name for name, nouns in NOUNS.items() for noun in nouns}

# Past tense and participle are the same word, so a passive is "was" and that word.
TRANSITIVE: tuple[tuple[str, ...], ...] = _sets(
    "called/phoned helped/assisted admired/respected praised/commended attacked/assaulted followed/pursued "
    "chased/hunted trusted/believed feared/dreaded warned/cautioned taught/instructed hired/employed "
    "fired/dismissed paid/compensated punished/penalized rescued/saved protected/defended mocked/ridiculed "
    "insulted/offended surprised/astonished scared/frightened annoyed/irritated confused/puzzled "
    "tricked/deceived pushed/shoved pulled/dragged carried/transported noticed/spotted watched/observed "
    "found/located met/encountered questioned/interviewed invited/summoned welcomed/greeted "
    "thanked/acknowledged supported/backed opposed/resisted stopped/halted copied/imitated "
    "defeated/conquered injured/wounded cured/healed hugged/embraced advised/counselled guided/steered "
    "ignored/neglected caught/captured freed/released comforted/consoled criticized/condemned"
)
INTRANSITIVE: tuple[tuple[str, ...], ...] = _sets(
    "slept/dozed ran/sprinted shouted/yelled laughed/chuckled cried/wept smiled/grinned arrived/appeared "
    "waited/lingered worked/labored fell/tumbled jumped/leaped hesitated/paused complained/grumbled "
    "whispered/murmured trembled/shivered succeeded/prevailed argued/quarreled traveled/journeyed "
    "rested/relaxed escaped/fled"
)
SENSE: dict[str, str] = {word: pair[0] for pair in TRANSITIVE + INTRANSITIVE for word in pair}
OTHER_FORM: dict[str, str] = {pair[i]: pair[1 - i] for pair in TRANSITIVE + INTRANSITIVE for i in (0, 1)}

ADJECTIVES: tuple[str, ...] = _list(
    "old young tall short rich poor famous clever lazy brave quiet polite angry happy sad tired hungry busy "
    "calm proud shy loyal honest nervous"
)
PREPOSITIONS: tuple[str, ...] = ("near", "behind", "beside")
FUNCTION: tuple[str, ...] = _list(
    "the a an was is by in of to who what where when why which how it true that reason time place city "
    "person come never no not and because after if or unless but although knew realized thought hoped "
    "remembered forgot perhaps maybe certainly clearly i"
)

# Fact verification and reading: people, the places of twelve countries, and what happened to a person in a
# place. A person has one place for each relation; this is what makes another place a refutation.
NAMES: tuple[str, ...] = _list(
    "anna peter maria thomas julia martin laura simon clara victor emma oscar helen felix diana robert alice "
    "hugo sarah leon ruth walter nina edgar irene albert sofia george marta henry vera samuel olga daniel "
    "ida philip rosa arthur eva karl agnes boris celia dmitri edith felipe greta harold ingrid jonas kate "
    "lars monica nathan oliver paula quentin rita stefan tina ulrich vincent wanda xavier yvonne albin berta "
    "conrad dora ernest flora gustav hilda ivan johanna kurt lydia milo nora otto"
)
CITIES: dict[str, tuple[str, ...]] = {
    country: _list(cities)
    for country, cities in {
        "france": "paris lyon nice lille",
        "italy": "rome milan naples turin",
        "spain": "madrid seville valencia bilbao",
        "germany": "berlin munich hamburg cologne",
        "poland": "warsaw krakow gdansk lodz",
        "japan": "tokyo osaka kyoto nagoya",
        "canada": "toronto montreal ottawa vancouver",
        "brazil": "brasilia salvador recife manaus",
        "egypt": "cairo alexandria luxor aswan",
        "india": "delhi mumbai chennai kolkata",
        "greece": "athens patras corfu rhodes",
        "norway": "oslo bergen trondheim stavanger",
    }.items()
}
COUNTRY_OF: dict[str, str] = {city: country for country, cities in CITIES.items() for city in cities}
RELATIONS: tuple[tuple[str, ...], ...] = (
    ("born",),
    ("raised", "reared"),
    ("educated", "schooled"),
    ("elected",),
    ("honored", "decorated"),
    ("jailed", "imprisoned"),
    ("stationed", "posted"),
    ("buried", "interred"),
)

# Sentiment: sets of synonyms, the common word first; every word of a set has the set's polarity.
POSITIVE: tuple[tuple[str, ...], ...] = _sets(
    "good/fine/decent/solid great/superb/terrific/magnificent funny/hilarious/witty/comical "
    "moving/touching/poignant/stirring beautiful/gorgeous/lovely/stunning "
    "exciting/thrilling/gripping/riveting smart/intelligent/insightful/perceptive "
    "fresh/original/inventive/novel charming/delightful/enchanting/appealing "
    "skilful/masterful/accomplished/deft"
)
NEGATIVE: tuple[tuple[str, ...], ...] = _sets(
    "bad/lousy/inferior/mediocre terrible/awful/horrible/dreadful boring/dull/tedious/dreary "
    "stupid/silly/foolish/idiotic ugly/hideous/unsightly/unpleasant weak/feeble/lame/flimsy "
    "shallow/superficial/hollow/empty stale/worn/derivative/unoriginal clumsy/awkward/inept/sloppy "
    "annoying/irritating/grating/tiresome"
)
LIKED: tuple[str, ...] = ("liked", "enjoyed", "loved", "adored")
DISLIKED: tuple[str, ...] = ("disliked", "hated", "loathed", "detested")
POLARITY: dict[str, int] = {word: 1 for word in chain(*POSITIVE, LIKED)} | {
    word: -1 for word in chain(*NEGATIVE, DISLIKED)
}
FILMS: tuple[tuple[str, ...], ...] = (
    ("film", "movie", "picture"),
    ("comedy", "farce"),
    ("thriller", "chiller"),
)
ASPECTS: tuple[tuple[str, ...], ...] = (
    ("story", "tale"),
    ("plot", "storyline"),
    ("cast", "ensemble"),
    ("score", "soundtrack"),
    ("ending", "finale"),
    ("script", "screenplay"),
    ("dialogue", "dialog"),
    ("performance", "portrayal"),
)
DEGREES: tuple[tuple[str, ...], ...] = (("very", "really", "truly"), ("quite", "rather", "fairly"))
OPINION_FUNCTION: tuple[str, ...] = ("with", "this", "overall")

SYNONYM_SETS: tuple[tuple[str, ...], ...] = (
    *TRANSITIVE, *INTRANSITIVE, *(r for r in RELATIONS if len(r) > 1), *POSITIVE, *NEGATIVE, LIKED, DISLIKED, *FILMS,
    *ASPECTS, *DEGREES, ("perhaps", "maybe"), ("certainly", "clearly"),
)  # fmt: skip
_SET_OF: dict[str, tuple[str, ...]] = {word: words for words in SYNONYM_SETS for word in words}


def synonyms(word: str) -> list[str]:
    """The other words of the word's synonym set; empty if it has none. Symmetric and transitive."""
    return [other for other in _SET_OF.get(word, ()) if other != word]


def lexicon() -> list[str]:
    """Every word of the world, once, in a fixed order."""
    groups = (
        FUNCTION, PREPOSITIONS, NOUNS, *NOUNS.values(), *TRANSITIVE, *INTRANSITIVE, ADJECTIVES, NAMES, CITIES,
        *CITIES.values(), *RELATIONS, *POSITIVE, *NEGATIVE, LIKED, DISLIKED, *FILMS, *ASPECTS, *DEGREES,
        OPINION_FUNCTION,
    )  # fmt: skip
    return list(dict.fromkeys(chain.from_iterable(groups)))
