"""Word lists from which works beyond the hand-written catalogue are composed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

_ADJECTIVES = """
amber ancient autumn bitter blind borrowed brass bright broken buried burning careful carved certain cold copper crooked crowded
curious distant divided double drifting early eastern eighth electric empty endless faded faithful false fearless fifth final
forgotten fragile frozen gentle gilded glass golden grey half-lit hidden hollow honest hungry impossible inner invisible iron
ivory jagged kindly last leaden lonely long lost lucky lunar marble midnight narrow nameless northern open ordinary painted paper
patient perfect plain quiet restless ruined salt scarlet second secret seventh silent silver sleeping slow southern stolen
stubborn sudden tangled third thousandth uncertain unfinished velvet wandering western white wild winter wooden
"""
ADJECTIVES = tuple(_ADJECTIVES.split())

_PLACES = """
Aldermoor Ambry Arkwell Ashgrove Bellhaven Birchwick Blackmere Bramholt Brindle Caldera Carrow Castlereach Cinderby Clovelly
Corran Dapplemere Dawnhollow Drumlin Dunmarrow Eastwater Eldergate Elmsworth Emberfall Fallowmere Farrowdale Fennick Foxcombe
Galloway Garnet Glasswick Glenmara Greywater Halcyon Harrowgate Hartsease Heatherby Highfold Hollowell Inverlea Ironbridge
Jasperton Juniper Kelmarsh Kestrel Kingsferry Lambourne Larkrise Linden Lowmoor Lyrewood Maplecross Marisol Marrowfield Merrivale
Millbrook Moorgate Narrowsea Nettlebed Norwold Oakhaven Oldport Orchardly Osprey Pellinore Pinecrest Quarrytown Quillmore Ravensea
Redcliff Rookhurst Rosemary Rushmere Saltmarsh Sandgate Sedgemoor Silverdale Starling Stonecrop Summerlin Tamarack Tarnwick
Thornfield-on-Sea Tidewater Torrence Underhill Vallance Verity Vesper Wakefold Waverley Westerly Whitlock Willowmere Windrush
Wintermoor Wrenfield Yarrow Yewtree Zephyr Zinnia
"""
PLACES = tuple(_PLACES.split())

_GIVEN_NAMES = """
Ada Alba Amara Anselm Aria Beatriz Bram Calla Cassian Cleo Corin Dalia Darius Edda Elio Emeka Esme Farah Fen Gaia Gideon Hana
Hollis Ines Isidor Ivo Jora Kasimir Keiko Lale Leander Liv Luca Magda Malik Mirela Nadia Nils Noor Odile Omar Orla Pavel Petra
Quill Rafi Rania Remy Rosalind Sadie Samir Selma Silas Tamsin Theo Tove Ulla Viggo Wanda Xenia Yara Yusuf Zelda Zoran
"""
GIVEN_NAMES = tuple(_GIVEN_NAMES.split())

_SURNAMES = """
Abernathy Achterberg Adeyemi Almqvist Amberley Arkady Barlowe Bellweather Bergstrand Calloway Castellane Chidiebere Corvane
Dalgaard Delacroix-Munn Drummel Eastlake Ekwueme Fairweather Farrant Fjellheim Galbraithe Grimaldo Hallorane Hartigan-Li Havelock
Ibarrola Ishikuro Jansky Kallergis Karimova Kestenbaum Lachance Lindqvister Lovelock Marchbanks Mbeki-Stone Montclair Nakagami
Nightingall Obuya Okonjo Ollivander-Roe Pellegrine Petrosyan Quennell Rademaker Ravenscar Rosenthaler Sandoval-Ruiz Sarkissova
Sommerville Tamberlane Thackery Ueland Vandermeer-Cole Vasquine Whitmarsh Wolstencroft Yarborough Zapatero Zielinska
"""
SURNAMES = tuple(_SURNAMES.split())

NOUNS = {
    "adventure": "Expedition Compass Caravan Lighthouse Crossing Voyage Cartographer Summit Raft Jungle Treasure Harbour",
    "animation": "Puppet Balloon Paintbox Robin Sparrow Clockwork Toymaker Snowflake Lantern Kite Fox Firefly",
    "biography": "Portrait Inventor Diary Pianist Surgeon Aviator Painter Botanist Chessplayer Senator Dancer Astronomer",
    "children": "Teapot Badger Hedgehog Treehouse Wellingtons Rabbit Button Mitten Puddle Bicycle Pancake Otter",
    "comedy": "Wedding Landlord Umbrella Butler Holiday Mix-up Audition Parrot Moustache Cruise Neighbour Sandwich",
    "coming-of-age": "Summer Schoolyard Notebook Swimmer Bus Sister Classroom Skateboard Bonfire Letter Photograph Graduation",
    "crime": "Heist Ledger Informer Safe Alibi Smuggler Forger Getaway Pawnshop Gambler Racket Warehouse",
    "drama": "Kitchen Inheritance House Confession Visitor Orchard Staircase Silence Apartment Reunion Farewell Window",
    "fantasy": "Dragon Crown Sorceress Rune Wyvern Enchantment Oath Throne Grimoire Giant Spell Moonstone",
    "history": "Dynasty Cathedral Empress Merchant Siege Guild Chronicle Abbey Court Galleon Revolt Regent",
    "horror": "Cellar Haunting Mirror Crypt Whisper Scarecrow Attic Ghoul Seance Mask Fog Nursery",
    "musical": "Chorus Melody Ballroom Serenade Trumpet Spotlight Overture Cabaret Waltz Jukebox Song Tambourine",
    "mystery": "Inspector Clue Manor Disappearance Cipher Witness Locket Riddle Poisoner Detective Footprint Library",
    "nonfiction": "Glacier Microscope Language River Telescope Economy Seed Machine Memory Ocean Map Bridge",
    "romance": "Proposal Rose Valentine Bookshop Sweetheart Embrace Promise Bakery Masquerade Engagement Postcard Kiss",
    "satire": "Committee Ministry Election Memorandum Golf-Club Bureau Influencer Gala Consultant Statue Parade Newspaper",
    "science fiction": "Starship Android Colony Signal Planet Cryosleep Airlock Nebula Simulation Terraformer Asteroid Clone",
    "thriller": "Hostage Conspiracy Courier Deadline Assassin Pursuit Passport Surveillance Countdown Defector Hideout Motorcade",
    "war": "Regiment Trench Bunker Convoy Ceasefire Battalion Medic Sniper Armistice Submarine Rearguard Telegram",
    "western": "Saloon Sheriff Stagecoach Rancher Outlaw Homestead Prairie Canyon Marshal Mustang Railroad Prospector",
}
"""Twelve nouns per genre; no noun stands in two genres, so titles of different genres never meet."""

DEEDS = {
    "adventure": ("a crew races a rival across unmapped country", "two strangers follow a trail nobody has finished"),
    "animation": ("a tiny hero learns to be brave", "a world of colours wakes at night and misbehaves"),
    "biography": ("one stubborn life is followed from cradle to fame", "a forgotten talent finally gets a full portrait"),
    "children": ("small friends solve a very big problem", "a rainy afternoon turns into an adventure"),
    "comedy": ("everyone is mistaken for somebody else", "one harmless lie gets entirely out of hand"),
    "coming-of-age": ("a shy teenager finds a voice", "three friends spend their last summer together"),
    "crime": ("a careful plan meets a careless partner", "an honest clerk is drawn into a dirty trade"),
    "drama": ("a family says aloud what it had kept quiet", "an old debt changes two marriages"),
    "fantasy": ("a reluctant heir bargains with old magic", "an apprentice breaks the one rule of the order"),
    "history": ("power changes hands while the harvest fails", "a humble scribe sees an age come to its end"),
    "horror": ("something in the dark has learned a name", "the new tenants hear the old ones at night"),
    "musical": ("a struggling troupe sings its way to opening night", "two rivals discover they share a tune"),
    "mystery": ("a patient sleuth doubts the obvious culprit", "a locked room hides the wrong secret"),
    "nonfiction": ("the author explains plainly how it really works", "field notes become an argument about our future"),
    "romance": ("two sceptics fall in love against advice", "a late letter reunites a separated pair"),
    "satire": ("officials compete to achieve nothing at all", "a modest idiot is promoted without pause"),
    "science fiction": ("settlers meet a mind unlike their own", "a failing machine asks its makers for mercy"),
    "thriller": ("an analyst has one night to prove the plot", "a courier learns what is in the case"),
    "war": ("a worn-out unit holds a useless hill", "a nurse and a deserter wait for the end"),
    "western": ("a retired gunhand rides out once more", "a lone widow defends her claim"),
}
"""What happens in a composed work, by genre."""

TONES = ("warm", "brisk", "sombre", "wry", "tender", "tense", "sweeping", "quiet")

BOOK_PROVIDERS = ("Lanternfish Press", "Harbour & Daughter", "Ninth Shelf", "Papermill House", "Quillon Books", "Tidepool Editions")
FILM_PROVIDERS = ("Bluebird Pictures", "Cinemarrow", "Northlight Stream", "Parallax Films", "Silverscreen Coop", "Velvet Reel")
"""Invented publishers and distributors."""

REGIONS = ("Africa", "Asia", "Europe", "North America", "Oceania", "South America")
AGE_RATINGS = ("all", "6+", "12+", "16+", "18+")
GENDERS = ("female", "male", "non-binary")
AGE_GROUPS = ("13-17", "18-24", "25-34", "35-49", "50-64", "65+")


def chosen(values: Sequence[str] | np.ndarray, indices: np.ndarray) -> pl.Series:
    """The values at the indices as a column, String `[index]`."""
    return pl.Series(list(values), dtype=pl.String).gather(indices)
