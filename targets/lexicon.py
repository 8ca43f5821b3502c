# ruff: noqa: SIM905  (a list would be one word a line)
"""Words of three letters or more that the plays use at least 20 times in lower case (counted once, kept here)."""

from __future__ import annotations

WORDS = frozenset(
    """
abide able aboard about above abroad absence absent absolute abuse accept access accident according account
accuse acquaintance acquainted act action actions acts add addition adieu advance advantage advice advise afar
afeard affairs affect affection affections afford afraid after afternoon afterwards again against age aged ago
aid aim air alack alarum alas alike alive all allegiance allow almost alone along aloud already also although
altogether always ambition ambitious amen amends amiss amity among amongst amorous ancient and angel angels
anger angry anon another answer answered answers any anything apace apart ape apparel apparent appeal appear
appears appetite appointed approach approve apt are argument arise arm armed armour arms army arrest art ashes
aside ask asleep aspect ass assurance assure assured attempt attend attendants attended attending audience
aught aunt authority avoid awake away awe awhile axe babe babes back backs backward bad bade band banish
banished banishment banquet bar barbarous bare bark barren base basket bastard battle bawd bay beams bear beard
bearing bears beast beasts beat beaten beats beauteous beauty because become becomes bed beds been befall
before beg began beget beggar beggars begin begins begot beguile begun behalf behaviour beheld behind behold
beholding being believe belike bell belly beloved below bend benefit bent beseech beside besides best bestow
betimes betray better between betwixt beware beyond bid bidding bids big bind bird birds birth bite bitter
black blame bleed bleeding bless blessed blessing blest blind blood bloody blot blow blown blows blue blunt
blush blushing boar boast bodies body bold bond bonds bone bones book books boot boots bore born borne borrow
bosom bosoms both bottle bottom bought bound bounds bounty bow bowels box boy boys brain brains brave bravely
breach bread break breaking breaks breast breath breathe breathing bred breed breeding breeds bride brief
bright bring brings broke broken brook brother brothers brought brow brown brows build burden burial buried
burn burning burns burst bury bush business busy but buy calf call called calls calm came camp can candle
canker cannot canst cap caps captain cardinal care careful cares carriage carried carries carry case cast
castle cat catch caught cause cave cease cell censure ceremony certain certainly chain chair challenge chamber
chance change changes charge charity charm charms chase chaste chastity check cheek cheeks cheer chide chief
child children chin choice choler choose chosen church circumstance citizens city civil claim clean clear climb
cloak clock close closet clothes cloud clouds coast coat coats cock cold colour colours combat come comes
comfort comforts coming command commanded commands commend commission commit committed common commons
commonwealth companion company compare compass complexion conceit conceive concerns conclude conclusion
condition conditions conduct conference confess confirm confound confusion conjure conquer conqueror conquest
conscience consent consider constant consul contempt content contented contents continue contract contrary
converse convey cool corn coronation correction corrupt corse cost couch could couldst council counsel count
countenance counterfeit country countrymen courage course court courteous courtesy courtier cousin cover coward
cowards coz crack crave craves create creature creatures credit creep crest cried cries cross crow crown
crowned crowns cruel cruelty cry crying cuckold cunning cup cur cure current curse cursed curses curst custom
cut dagger daily dainty dam dame damned dance dancing danger dangerous dare dares dark darkness dat date
daughter daughters day days dead deadly deaf deal dear dearer dearest dearly death deaths debt decay deceit
deceive deceived deed deeds deep deer defence defend defy degree delay delicate delight deliver delivered
demand den denied deny depart departure deputy desert deserts deserve deserved deserves desire desires despair
despatch desperate despite destiny destroy destruction determine device devil devils devise dew did didst die
died dies diest difference dignity dim dine dinner direct direction directly discharge discontent discourse
discover discretion disdain disease diseases disgrace disguised dish dishonour dismal dispatch displeasure
dispose disposition distance divers divide divine division divorce doctor does dog dogs doing done doom door
doors dost dote doth double doublet doubt doubtful dove down dowry dozen draw drawn draws dread dreadful dream
dreams dress drew drink drinking drive drop drops drown drowned drum drums drunk drunken dry ducats due duke
dukedom dull dumb durst dust duties duty dwell dying each eagle ear earl early earnest ears earth earthly ease
easily east easy eat eaten edge effect effects eight either elder eldest election elements eleven else embrace
emperor employ employment empress empty encounter end ended ends endure enemies enemy enforce enjoy enough
enter enterprise entertain entertainment entrance entreat envious envy equal ere error escape estate esteem
estimation eternal even evening event ever everlasting evermore every everything evil evils example exceeding
excellence excellent except exchange excuse execute execution exile expect expectation expedition express
extremity eye eyes face faces faction fail fain faint fair fairer fairest fairies fairly fairy faith faithful
fall fallen falling falls false falsehood fame familiar famous fancy far fare fares farewell farther fashion
fast fat fatal fate father fathers fault faults favour favours fear fearful fearing fears feast feather fed fee
feeble feed feel feeling feet fell fellow fellows felt fetch fever few fie field fields fiend fierce fiery
fifty fight fighting figure fill filthy find finds fine finger fingers fire fires firm first fish fit fits five
flame flat flatter flattery fled fleet flesh flies flight flint flood flourish flout flow flower flowers fly
foe foes fold follow followers following follows folly fond food fool foolish fools foot for forbear forbid
force forces forehead foreign forest forfeit forget forgive forgot forlorn form former forms forsake forsooth
forswear forsworn forth fortune fortunes forty forward fought foul found four fourteen fox frame free freedom
freely fresh friar friend friendly friends friendship fright from front frown fruit full funeral furnish
further fury gain gait gall gallant gallows game gar garden garland garments gate gates gather gave gaze
general gentle gentleman gentlemen gentlewoman gently get ghost giddy gift gifts gilded girl give given gives
giving glad glass glorious glory glove god goddess gods goes going gold golden gone good goodly goodness goods
goose got govern government governor gown grace graces gracious grandam grandsire grant granted grass grave
graves great greater greatest greatness green greet greeting grew grey grief griefs grieve grieves grievous
grim groan groans gross ground grow growing grown grows guard guarded guess guest guests guide guilt guiltless
guilty habit had hadst hail hair hairs half hall hand handkerchief hands hang hanged hanging hangs hap haply
happily happiness happy hard hardly hare hark harm harmony harsh harvest has hast haste hasty hat hate hated
hateful hates hath have having hazard head heads health hear heard hearing hears heart hearted heartily hearts
heat heaven heavenly heavens heavy hedge heed heels height heir heirs held hell help hence henceforth her
herald herd here hereafter herein hers herself hey hid hide hideous hie high higher highness hill him himself
his history hit hither hold holds hole hollow holy home honest honesty honey honor honour honourable honours
hope hopes horn horns horrible horse horses hose host hostess hot hounds hour hourly hours house houses how hue
huge human humble humbly humour humours hundred hung hungry hunt hurt husband husbands idle ignorance ignorant
ill image imagination immortal imperial import impossible inch increase indeed infamy infant infected infection
infinite inform injuries injury ink innocence innocent instance instant instantly instruct instrument
instruments intelligence intend intent intents interest into invention invisible inward iron island isle issue
itself jealous jealousy jest jewel jewels join joint jot journey joy joyful joys judge judgement judgment just
justice justly keen keep keeping keeps kept key kill killed killing kills kin kind kindly kindness kindred king
kingdom kingdoms kingly kings kinsman kiss kisses kissing knave knaves knee kneel knees knew knife knight
knights knit knock knot know knowing knowledge known knows labour lack lad ladder ladies lads lady ladyship
laid lamb lament land lands language lap large lark last late lately latter laugh laughter law lawful laws lay
lays lead leads league lean leap learn learned learning least leave leaves led left leg legs leisure lend
length lent less lesser lest let lets letter letters level liberal liberty lie lief liege lies liest lieutenant
life lift light lightning lights like likely likeness likes likewise liking limbs line linen lines lion lions
lip lips list little live lived livery lives living load loath loathsome locks lodge lodging long longer look
looked looking looks loose lord lords lordship lose losing loss lost loud love loved lovely lover lovers loves
loving low lower loyal loyalty luck lungs lust lusty lute lying mad madam made madness maid maiden maids main
maintain majesty make makes making malice man manage manhood manly manner manners many mar marble march
marching mark market marks marriage married marry marvel mass master masters match matter matters may mayst
mean meaning means meant measure meat meddle medicine meet meeting melancholy melt memory men mend merchant
mercy mere merely merit merrily merry message messenger met metal methinks methought mettle middle midnight
might mightst mighty mild mile milk mind minds mine minister ministers minute miracle mirth mischance mischief
miserable miseries misery miss mistake mistook mistress moan mock modest modesty moment money monsieur monster
monstrous month months monument mood moon moral more morn morning morrow mortal most mother mothers motion
mount mountain mourn mourning mouth mouths move moved moves moving much murder murderer music must mutiny
myself nails naked name names narrow nation native natural nature natures naught nay near necessity neck need
needful needs neglect neighbour neither nephew nest never new newly news next nice niece night nightly nights
nimble nine nobility noble nobles nobly noise none nor north nose not note noted notes nothing notice
notwithstanding nought now number numbers nuptial nurse oak oath oaths obedience obedient obey object observe
occasion ocean odd odds off offence offences offend offended offer office officer officers offices oft often
old once one ones only ope open opinion opposite oracle orchard order other others otherwise ought our ours
ourselves out outward over owe owes owl own pace pack page paid pain pains painted painting pair palace pale
palm paper pardon park parley part parted particular parting partly parts party pass passage passes passing
passion past pate patience patient pause pawn pay pays peace pearl peasant peers peevish pen penny people
perceive perchance perfect perfection perforce perform perhaps peril perish perjury perpetual person persuade
petty phrase physic physician pick picture piece pieces pierce pin pine pit pitch piteous pitiful pity place
places plague plain plant play players plays plead pleasant please pleased pleasing pleasure pleasures pledge
plot pluck pocket point points poison policy pomp poor possess possession possible post pound pour poverty
power powerful powers pox practice praise praises pray prayer prayers precious preparation prepare presence
present presently preserve press presume pretty prevail prevent prey price prick pride priest prince princely
princes princess prison prisoner prisoners prithee private privilege prize proceed proceeding process proclaim
proclamation profess profession profit prologue promise promised promises pronounce proof proper proportion
prosperous protector protest proud prove provide provided public punish punishment purchase pure purge purpose
purposes purse pursue push put puts qualities quality quarrel queen quench question quick quickly quiet quit
quite quoth rage ragged raging rail rain raise ran rank ranks ransom rapier rare rascal rash rate rather reach
read reading ready realm reason reasons rebel rebellion rebels receive received reckoning recompense record
recover red redeem redress refuse regard reign rejoice remain remains remedy remember remembrance remorse
remove render renown renowned repair repent report repose reproach reputation request require requite rescue
resolution resolve resolved respect rest restore retire return revenge reverence reverend revolt reward rhyme
rich riches rid ride right rightly rights ring ripe rise rises rites river roar roaring rob robe robes rock
rogue rogues room root rose roses rotten rough round rouse royal royalty rude ruin rule run running runs rush
sack sacred sacrifice sad sadly sadness safe safely safety said sail saint sake salt salute same sat
satisfaction satisfied satisfy saucy savage save saved saw say saying says scape scarce scene sceptre school
scope score scorn scorns scruple scurvy sea seal search seas season seat second secret secrets secure see
seeing seek seeks seem seeming seems seen sees seest seize seldom self sell semblance senate senators send
sends sense senseless senses sensible sent sentence serious serpent servant servants serve served serves
service services set sets setting seven several severally shade shadow shadows shake shall shallow shalt shame
shape shapes share sharp she shed sheep shepherd shield shift shine shines ship ships shoes shook shoot shore
shores short shortly shot should shoulder shoulders shouldst show shown shows shrewd shun shut sick sickness
side sides siege sigh sighs sight sights sign signify signior signs silence silent silk silly silver simple sin
since sinews sing singing single sings sink sins sir sirrah sirs sister sisters sit sits sitting six skill skin
sky slain slander slaughter slave slaves slay sleep sleeping sleeps sleeve slept slew slight slip slow small
smell smile smiles smiling smoke smooth snow sober society soft softly soil sold soldier soldiers sole solemn
some something sometime sometimes son song sons soon sooner sooth sore sorrow sorrows sorry sort sought soul
souls sound sounded sounds sour south sovereign sovereignty space spake spare speak speaking speaks special
speech speeches speed speedy spend spent spirit spirits spit spite spleen spoil spoke spoken sport spread
spring spur spurn spy staff stage stain stale stamp stand standing stands star stars start state stay stays
steal steel step steps stern steward stick still sting stir stirring stock stocks stole stolen stomach stone
stones stood stoop stop stops store storm story stout straight strain strange strangely stranger straw stream
street streets strength strict strife strike strikes strive stroke strokes strong stronger strongly struck
strumpet stubborn study stuff subject subjects substance subtle success such suck sudden suddenly sue suffer
sufferance suit suitor suits sum summer sun supper supply suppose supposed sure surely surety suspect suspicion
swain sway swear swearing swears sweat sweet sweetest sweetly swelling swift sword swords swore sworn table
tailor take taken takes taking tale tales talk talking tall tame tarry task taste taught teach tear tears
tedious teeth tell telling tells temper tempest temple tempt ten tend tender tent tents term terms terrible
terror than thank thankful thanks that the thee their theirs them theme themselves then thence there thereby
therefore therein thereof these they thick thief thieves thin thine thing things think thinking thinks third
thirty this thither those thou though thought thoughts thousand thread three threw thrice thrive throat throats
throne through throw thrown thrust thunder thus thy thyself tide tidings tied till time times title titles
together toil token told tomb tongue tongues too took tooth top torch torment torture touch touches toward
towards town towns trade train traitor traitors travel treacherous treachery tread treason treasons treasure
tree trees tremble trembling trespass trial tribunes trick tricks tried trifle triumph troop troops troth
trouble troubled true truly trumpet trumpets trunk trust truth try tune turn turned turns twain twelve twenty
twice two tyranny tyrant ugly uncle under understand undertake undo undone unfold unhappy unjust unkind
unkindness unknown unless unnatural unseen until untimely unto unworthy upon upright urge use used usurp utmost
utter vain valiant valour value vanity vantage varlet vassal veins vengeance venom venture verse verses very
vessel vice victory view vile villain villains villainy villany violent virgin virginity virtue virtues
virtuous visage visit voice voices vouchsafe vous vow vows voyage vulgar wager wail wait wake waking walk walks
wall walls wander want wanton wants war ward warlike warm warrant wars was wash wast waste watch water waters
watery waves wax way ways weak weakness wealth weapon weapons wear wears weary weather wed wedding weeds week
weep weeping weeps weigh weight welcome well wench went wept were wert west wet what wheel when whence where
wherefore wherein whereof whether which while whiles whilst whip whipped whisper whit white whither who whole
wholesome whom whore whoreson whose why wicked wide widow wife wild will willing willingly willow wills wilt
win wind window winds wine wing wings wink winter wipe wisdom wise wisely wish wishes wit witch with withal
withdraw within without witness wits wives woe woeful woes wolf woman womb women won wonder wonderful wondrous
wont woo wood wooing word words wore work working works world worm worms worn worse worser worship worst worth
worthy wot would wouldst wound wounded wounds wrath wretch wretched writ write writes writing written wrong
wronged wrongs wrought yea year years yellow yes yesterday yet yield yielded yoke yond yonder you young younger
youngest your yours yourself yourselves youth youthful zeal
""".split()
)
